package server

import (
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

func TestInvitesPerMinute(t *testing.T) {
	minute := time.Unix(1_800_000_000, 0).Truncate(time.Minute)
	i := invites{most: 5}
	at := func(d time.Duration) time.Time { return minute.Add(d) }
	for _, tc := range []struct {
		user string
		n    int
		at   time.Duration
		want protocol.Code
	}{
		{"ann", 3, 0, 0},
		{"ann", 3, 40 * time.Second, pb.Code_CODE_RATE_LIMITED},
		{"ann", 2, 41 * time.Second, 0}, // what was refused didn't count
		{"ann", 0, 42 * time.Second, 0},
		{"ann", 1, 59 * time.Second, pb.Code_CODE_RATE_LIMITED},
		{"bob", 5, 59 * time.Second, 0},
		{"ann", 6, 60 * time.Second, pb.Code_CODE_BAD_ARGUMENT},
		{"ann", 5, 60 * time.Second, 0},
		{"ann", 1, 59 * time.Second, pb.Code_CODE_RATE_LIMITED}, // a clock that is behind opens no minute again
	} {
		err := i.take(tc.user, tc.n, at(tc.at))
		if got := protocol.CodeOf(err); err != nil && got != tc.want || err == nil && tc.want != 0 {
			t.Errorf("%d by %s at %s: %v, want %v", tc.n, tc.user, tc.at, err, tc.want)
		}
		if tc.want == pb.Code_CODE_RATE_LIMITED && protocol.AsError(err).RetryAfter < time.Minute-tc.at%time.Minute-time.Minute/60 {
			t.Errorf("at %s: to be tried again after %s", tc.at, protocol.AsError(err).RetryAfter)
		}
	}
}
