package bench

import (
	"testing"
	"time"
)

// TestMixed has people do everything there is to do, often, with a server that
// answers and with one that refuses a lot for the moment.
func TestMixed(t *testing.T) {
	for _, test := range []struct {
		name    string
		args    []string
		refuses bool
	}{
		{"allowed", nil, false},
		{"one request at a time", []string{"--max-in-flight", "1"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Mixed(t.Context(), MixedConfig{
				Target: start(t, test.args...), People: 40, Friends: 4, Idle: 20, Messages: 400, Looks: 100, Marks: 0.5, Returns: 30,
				Slack: 50 * time.Millisecond, Warmup: 200 * time.Millisecond, For: 2 * time.Second, Loops: 2,
			})
			checkReport(t, r, err, "WHO → PRESENT")
			for name, want := range map[string]float64{"messages delivered": 400, "marks": 200, "looks who is online": 100, "returns": 20} {
				if got := figure(t, r, name); got < want/3 || got > want*2.5 {
					t.Errorf("%s: %.0f/s, want about %.0f", name, got, want)
				}
			}
			if figure(t, r, "of all messages pulled") == 0 {
				t.Error("nobody has missed anything while away")
			}
			if n := figure(t, r, "requests refused for the moment"); (n > 0) != test.refuses {
				t.Errorf("%v requests were refused", n)
			}
			for _, l := range r.Latencies {
				if l.Count == 0 || l.P50 <= 0 {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}
