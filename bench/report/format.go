package report

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// formatValue shows a value in its unit with three significant digits or all whole ones:
// bytes in powers of 1,024, durations in the unit that fits, all else with
// thousands separated.
func formatValue(v float64, unit string) string {
	switch unit {
	case "B", "B/s":
		return formatBytes(v) + strings.TrimPrefix(unit, "B")
	case "s":
		return formatDuration(v * 1e6)
	case "ms":
		return formatDuration(v * 1e3)
	case "µs":
		return formatDuration(v)
	case "":
		return formatNumber(v)
	case "%", "×", "/s":
		return formatNumber(v) + unit
	default:
		return formatNumber(v) + " " + unit
	}
}

// formatNumber separates thousands and shows three significant digits, or all
// of the whole part.
func formatNumber(v float64) string {
	if v < 0 {
		return "-" + formatNumber(-v)
	}
	if v != 0 && v < 0.001 {
		return strconv.FormatFloat(v, 'g', 3, 64)
	}
	decimals := 0
	for limit := 100.0; decimals < 3 && v < limit; limit /= 10 {
		decimals++
	}
	whole, fraction, _ := strings.Cut(strconv.FormatFloat(v, 'f', decimals, 64), ".")
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if fraction = strings.TrimRight(fraction, "0"); fraction != "" {
		return whole + "." + fraction
	}
	return whole
}

func formatBytes(v float64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; math.Abs(v) >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return formatNumber(v) + " " + units[i]
}

// formatDuration takes microseconds.
func formatDuration(us float64) string {
	switch abs := math.Abs(us); {
	case abs >= 100e6:
		return time.Duration(us * 1e3).Round(time.Second).String()
	case abs >= 1e6:
		return formatNumber(us/1e6) + " s"
	case abs >= 1e3:
		return formatNumber(us/1e3) + " ms"
	default:
		return formatNumber(us) + " µs"
	}
}

// formatRatio shows a ratio in percent, and from 2 on as a factor.
func formatRatio(ratio float64) string {
	if ratio >= 2 {
		return formatNumber(ratio) + "×"
	}
	return formatNumber(100*ratio) + "%"
}
