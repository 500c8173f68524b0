package bench

import (
	"strings"
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
		stall  time.Duration
		closed bool
	}{
		{"left out", nil, 3 * time.Second, false},
		{"closed", []string{"--stall-timeout", "1500ms"}, 5 * time.Second, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := Slow(t.Context(), SlowConfig{
				Target: start(t, test.args...), Pairs: 10, Rate: 600, Slow: 0.2, Size: 16 << 10, Loops: 2,
				Stall: test.stall, Calm: 1100 * time.Millisecond,
			})
			checkReport(t, r, err, "slow ones have caught up after")
			// Each of the two at least once: again, if it is slow to catch up.
			if closed := figure(t, r, "of their connections closed by the server"); closed < 2 && test.closed || closed > 0 && !test.closed {
				t.Errorf("%v connections were closed", closed)
			}
			// 2 of 10 are sent 60 messages a second of 16 KiB each, about 1 MiB, of which
			// the kernel and the server's limit hold a part. What is sent while they
			// catch up they may have to pull too.
			lacked, pulled, seconds := figure(t, r, "messages that they lacked"), figure(t, r, "of their messages pulled"), figure(t, r, "slow ones have caught up after")
			if most := lacked + 2*2*60*seconds + 100; lacked == 0 || pulled == 0 || pulled > most {
				t.Errorf("they lacked %v messages and pulled %v, want no more than %.0f", lacked, pulled, most)
			}
			for _, l := range r.Latencies {
				if l.Count == 0 && !strings.HasSuffix(l.Name, "they catch up") { // which may take no time
					t.Errorf("%+v", l)
				}
			}
		})
	}
}
