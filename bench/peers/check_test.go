package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestChecker(t *testing.T) {
	for _, c := range []struct {
		name     string
		come     []uint64
		want     []string // what each complaint contains
		distinct uint64
	}{
		{"in order", []uint64{0, 1, 2, 3}, nil, 4},
		{"twice", []uint64{0, 1, 1, 2}, []string{"message 1 came twice"}, 3},
		{"an old one twice", []uint64{0, 1, 2, 0}, []string{"message 0 came twice"}, 3},
		{"a hole", []uint64{0, 3}, []string{"message 3 came where 1 was due"}, 2},
		{"late", []uint64{0, 2, 1, 3}, []string{"message 2 came where 1", "message 1 came after message 2"}, 4},
		{"late and twice", []uint64{0, 2, 1, 1}, []string{"message 2 came where 1", "message 1 came after message 2", "message 1 came twice"}, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			check := checker{pair: 7}
			var got []string
			for _, n := range c.come {
				sent, fresh, err := check.check(stamp(nil, 7, n, time.Duration(n)))
				if fresh && sent != time.Duration(n) {
					t.Errorf("message %d was sent at %v", n, sent)
				}
				if err != nil {
					got = append(got, err.Error())
				}
			}
			if len(got) != len(c.want) {
				t.Fatalf("the complaints are %q, want %q", got, c.want)
			}
			for i, want := range c.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("complaint %q does not say %q", got[i], want)
				}
			}
			if check.delivered != c.distinct {
				t.Errorf("%d different messages came, want %d", check.delivered, c.distinct)
			}
		})
	}
}

func TestCheckerLooksAtBodies(t *testing.T) {
	good := stamp(nil, 7, 0, 0)
	damaged := bytes.Clone(good)
	damaged[bodySize-1]++
	for name, body := range map[string][]byte{
		"another pair's": stamp(nil, 8, 0, 0), "short": good[:bodySize-1], "empty": {}, "damaged": damaged,
	} {
		check := checker{pair: 7}
		if _, fresh, err := check.check(body); fresh || err == nil {
			t.Errorf("a body that is %s passes", name)
		}
	}
}
