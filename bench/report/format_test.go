package report

import "testing"

func TestFormatValue(t *testing.T) {
	for _, c := range []struct {
		value      float64
		unit, want string
	}{
		{0, "", "0"},
		{0.00012, "", "0.00012"},
		{0.1234, "cores", "0.123 cores"},
		{1.2345, "cores", "1.23 cores"},
		{12.345, "", "12.3"},
		{99.95, "", "100"},
		{126400.4, "msgs/s", "126,400 msgs/s"},
		{1234567, "", "1,234,567"},
		{-1234, "", "-1,234"},
		{999, "B", "999 B"},
		{1536, "B", "1.5 KiB"},
		{64 << 20, "B/s", "64 MiB/s"},
		{-2048, "B", "-2 KiB"},
		{512, "µs", "512 µs"},
		{1512, "µs", "1.51 ms"},
		{5, "ms", "5 ms"},
		{0.18, "ms", "180 µs"},
		{3.987, "s", "3.99 s"},
		{60, "s", "60 s"},
		{754, "s", "12m34s"},
		{12.5, "%", "12.5%"},
	} {
		if got := formatValue(c.value, c.unit); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}

func TestFormatRatio(t *testing.T) {
	for ratio, want := range map[float64]string{0: "0%", 0.7: "70%", 0.7071: "70.7%", 1: "100%", 1.994: "199%", 2: "2×", 2.849: "2.85×", 43.27: "43.3×"} {
		if got := formatRatio(ratio); got != want {
			t.Errorf("%v: %q, want %q", ratio, got, want)
		}
	}
}
