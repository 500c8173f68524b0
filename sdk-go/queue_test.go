package godwit

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestFifo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q fifo[int]
		var model []int
		for i := range rapid.IntRange(0, 2000).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "push") < 5 {
				q.push(i)
				model = append(model, i)
				continue
			}
			v, ok := q.pop()
			if ok != (len(model) > 0) || ok && v != model[0] {
				t.Fatalf("pop: %d, %v with %d in the model", v, ok, len(model))
			}
			model = model[min(1, len(model)):]
			if q.len() != len(model) {
				t.Fatalf("len %d, want %d", q.len(), len(model))
			}
		}
	})
}

func TestFifoGivesBackItsRoom(t *testing.T) {
	var q fifo[int]
	for i := range 100_000 {
		q.push(i)
		if i >= 10 {
			q.pop()
		}
	}
	if cap(q.items) > 1000 {
		t.Errorf("room for %d with %d in the queue", cap(q.items), q.len())
	}
}

func TestTimersFireInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		delays := rapid.SliceOf(rapid.IntRange(0, 50)).Draw(t, "delays")
		start := time.Unix(0, 0)
		var ts timers
		for _, d := range delays {
			ts.add(start.Add(time.Duration(d)), nil, markTimer)
		}
		slices.Sort(delays)
		for now := range 51 {
			for {
				next, ok := ts.due(start.Add(time.Duration(now)))
				if !ok {
					break
				}
				if want := start.Add(time.Duration(delays[0])); !next.at.Equal(want) || delays[0] > now {
					t.Fatalf("at %d fired %v, want %v", now, next.at, want)
				}
				delays = delays[1:]
			}
			if len(delays) > 0 && delays[0] <= now {
				t.Fatalf("at %d the timer of %d has not fired", now, delays[0])
			}
		}
	})
}

func TestBackoffIsFullJitter(t *testing.T) {
	b := Backoff{Min: 100 * time.Millisecond, Max: 3 * time.Second}
	for n, ceiling := range []time.Duration{100, 200, 400, 800, 1600, 3000, 3000} {
		ceiling *= time.Millisecond
		var sum, least, most time.Duration
		least = ceiling
		const draws = 2000
		for range draws {
			d := b.wait(n)
			sum, least, most = sum+d, min(least, d), max(most, d)
		}
		mean := sum / draws
		if least < 0 || most > ceiling || least > ceiling/20 || most < ceiling*19/20 || mean < ceiling*9/20 || mean > ceiling*11/20 {
			t.Errorf("after %d failures: %v to %v, mean %v, want 0 to %v evenly", n, least, most, mean, ceiling)
		}
	}
	if d := b.ceiling(1 << 30); d != b.Max {
		t.Errorf("after very many failures: %v", d)
	}
}
