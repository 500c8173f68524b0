package msgstore

import (
	"bytes"
	"cmp"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Keys of messages sort by conversation, then by seq.
func TestMessageKeys(t *testing.T) {
	conversation := rapid.StringOfN(rapid.RuneFrom([]rune("!ab~")), 1, 4, -1)
	seq := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 300), rapid.SampledFrom([]uint64{1<<16 - 1, 1 << 16, math.MaxUint64}))
	rapid.Check(t, func(t *rapid.T) {
		id, other := conversation.Draw(t, "conversation"), conversation.Draw(t, "other")
		n, m := seq.Draw(t, "seq"), seq.Draw(t, "other seq")
		key := appendMessageKey(nil, 1, id, n)
		if got := keySeq(key, id); got != n || len(key) != messageKeySize(id, n) {
			t.Errorf("seq %d came back as %d, %d bytes", n, got, len(key))
		}
		if got, want := bytes.Compare(key, appendMessageKey(nil, 1, other, m)), cmp.Or(cmp.Compare(id, other), cmp.Compare(n, m)); got != want {
			t.Errorf("%q %d and %q %d compare as %d", id, n, other, m, got)
		}
		lower, upper := appendMessageBounds(nil, nil, 1, other)
		if in := bytes.Compare(key, lower) >= 0 && bytes.Compare(key, upper) < 0; in != (id == other) {
			t.Errorf("%q %d is among those of %q: %v", id, n, other, in)
		}
	})
}
