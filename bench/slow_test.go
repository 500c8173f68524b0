package bench

import (
	"testing"
	"time"
)

// TestSlow has so much be written to people who do not read that the server
// leaves it out, and that it closes their connections where it soon loses
// patience.
func TestSlow(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		closed float64
	}{
		{"left out", nil, 0},
		{"closed", []string{"--stall-timeout", "500ms"}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Slow(t.Context(), SlowConfig{
				Target: start(t, test.args...), Pairs: 10, Rate: 600, Slow: 0.2, Size: 16 << 10, Loops: 2,
				Stall: 3 * time.Second, Calm: 1100 * time.Millisecond,
			})
			checkReport(t, r, err, "slow ones have caught up after")
			if closed := figure(t, r, "of their connections closed by the server"); closed != test.closed {
				t.Errorf("%v connections were closed, want %v", closed, test.closed)
			}
			// 2 of 10 were sent 3 s of 60 messages a second of 16 KiB each, about
			// 2.8 MiB, of which the kernel and the server's limit hold a part.
			if lacked, pulled := figure(t, r, "messages that they lacked"), figure(t, r, "of their messages pulled"); lacked < 100 || pulled < 20 || pulled > lacked+100 {
				t.Errorf("they lacked %v messages and pulled %v", lacked, pulled)
			}
			for _, l := range r.Latencies {
				if l.Count == 0 {
					t.Errorf("%+v", l)
				}
			}
		})
	}
}
