package knob

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// value adapts a parse and a print function to pflag.Value.
type value[T any] struct {
	target *T
	kind   string
	parse  func(string) (T, error)
	print  func(T) string
}

func (v *value[T]) Set(text string) error {
	t, err := v.parse(text)
	if err != nil {
		return err
	}
	*v.target = t
	return nil
}

func (v *value[T]) String() string { return v.print(*v.target) }
func (v *value[T]) Type() string   { return v.kind }

// String is any text.
func String(p *string) pflag.Value {
	return &value[string]{p, "string", func(s string) (string, error) { return s, nil }, func(s string) string { return s }}
}

// Bool is true or false.
func Bool(p *bool) pflag.Value {
	parse := func(s string) (bool, error) {
		b, err := strconv.ParseBool(s)
		if err != nil {
			return false, fmt.Errorf("%q is neither true nor false", s)
		}
		return b, nil
	}
	return &value[bool]{p, "bool", parse, strconv.FormatBool}
}

// Integer is the target of a whole number or a size.
type Integer interface{ int | int64 | uint64 }

// Int is a whole number in decimal that is not negative. Underscores may
// group its digits.
func Int[T Integer](p *T) pflag.Value {
	return &value[T]{p, "int", parseWhole[T], func(n T) string { return strconv.FormatUint(uint64(n), 10) }}
}

func parseWhole[T Integer](s string) (T, error) {
	n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%s is out of range", s)
	}
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a whole number", s)
	}
	return T(n), nil
}

// Float is a decimal number that is not negative.
func Float(p *float64) pflag.Value {
	parse := func(s string) (float64, error) {
		f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
		if err != nil || !(f >= 0 && f <= 1e18) {
			return 0, fmt.Errorf("%q is not a number of 0 or more", s)
		}
		return f, nil
	}
	return &value[float64]{p, "float", parse, func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }}
}

// Duration is in Go's form, "1h30m", and not negative. 0 needs no unit.
func Duration(p *time.Duration) pflag.Value {
	parse := func(s string) (time.Duration, error) {
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return 0, fmt.Errorf(`%q is not a duration such as "30s" or "1h30m"`, s)
		}
		return d, nil
	}
	return &value[time.Duration]{p, "duration", parse, printDuration}
}

// printDuration is d.String() without the trailing zero units: "10m", not
// "10m0s".
func printDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var sizeUnits = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

// Size is a number of bytes: a whole number, with or without a binary unit.
// Decimal units are refused, for "KB" means two things.
func Size[T Integer](p *T) pflag.Value {
	return &value[T]{p, "size", parseSize[T], printSize[T]}
}

func parseSize[T Integer](s string) (T, error) {
	bad := fmt.Errorf(`%q is not a size such as "256KiB"; the units are B, KiB, MiB, GiB, TiB`, s)
	digits, shift := s, uint(0)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			digits, shift = strings.TrimRight(rest, " "), u.shift
			break
		}
	}
	n, err := parseWhole[int64](digits)
	if err != nil || n > (1<<62)>>shift {
		return 0, bad
	}
	return T(n << shift), nil
}

func printSize[T Integer](n T) string {
	for _, u := range sizeUnits {
		if n != 0 && uint64(n)%(1<<u.shift) == 0 {
			return strconv.FormatUint(uint64(n)>>u.shift, 10) + u.name
		}
	}
	return "0B"
}

// Option is one of the values of a Choice.
type Option[T any] struct {
	Name  string
	Value T
}

// Choice is one of a few named values. What the target holds when it is none
// of them prints as "".
func Choice[T comparable](p *T, options ...Option[T]) pflag.Value {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	parse := func(s string) (T, error) {
		for _, o := range options {
			if o.Name == s {
				return o.Value, nil
			}
		}
		var zero T
		return zero, fmt.Errorf("%q is not one of %s%s", s, strings.Join(names, ", "), suggest(s, names))
	}
	print := func(t T) string {
		for _, o := range options {
			if o.Value == t {
				return o.Name
			}
		}
		return ""
	}
	return &value[T]{p, strings.Join(names, "|"), parse, print}
}

// Words is a Choice between texts that stand for themselves.
func Words(p *string, words ...string) pflag.Value {
	options := make([]Option[string], len(words))
	for i, w := range words {
		options[i] = Option[string]{w, w}
	}
	return Choice(p, options...)
}
