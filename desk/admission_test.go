package desk

import (
	"fmt"
	"testing"
	"time"
)

func TestAdmission(t *testing.T) {
	a := admission{most: 3, mostOfOne: 2}
	start := time.Unix(1_000_000_020, 0) // the first second of a minute
	for i, tc := range []struct {
		address string
		at      time.Duration
		want    time.Duration
	}{
		{"a", 0, 0},
		{"a", 10 * time.Second, 0},
		{"a", 20 * time.Second, 40 * time.Second}, // the third of one address
		{"b", 30 * time.Second, 0},
		{"b", 40 * time.Second, 20 * time.Second}, // the fourth of all
		{"c", 59 * time.Second, time.Second},
		{"a", 60 * time.Second, 0}, // another minute
	} {
		if got := a.take(tc.address, start.Add(tc.at)); got != tc.want {
			t.Errorf("%d: %v, want %v", i, got, tc.want)
		}
	}
	// Whoever has many addresses costs no more memory than visits are allowed.
	for i := range 1000 {
		a.take(fmt.Sprint("many-", i), start.Add(70*time.Second))
	}
	if n := len(a.byAddress); n > a.most {
		t.Errorf("%d addresses are remembered, %d visits are allowed", n, a.most)
	}
}
