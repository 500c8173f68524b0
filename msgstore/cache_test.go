package msgstore

import (
	"fmt"
	"testing"
)

func TestHeadCacheLeases(t *testing.T) {
	c := newHeadCache(2)
	c.shards = c.shards[:1]
	c.shards[0].size = 2

	_, lease, ok := c.get("a")
	if ok || lease == 0 {
		t.Fatalf("first look: lease %d, %v", lease, ok)
	}
	if _, second, ok := c.get("a"); ok || second != 0 {
		t.Errorf("a second reader got lease %d, %v", second, ok)
	}
	c.fill("a", lease, Head{Seq: 1})
	if h, _, ok := c.get("a"); !ok || h.Seq != 1 {
		t.Errorf("after the fill: %+v, %v", h, ok)
	}

	// What the writer put meanwhile stays, even if it is evicted before the
	// reader comes back with what it had read.
	_, lease, _ = c.get("b")
	c.put("b", Head{Seq: 7})
	c.fill("b", lease, Head{Seq: 6})
	if h, _, ok := c.get("b"); !ok || h.Seq != 7 {
		t.Errorf("a late fill replaced what was put: %+v, %v", h, ok)
	}
	_, lease, _ = c.get("c")
	c.put("c", Head{Seq: 7})
	for i := range 10 {
		c.put(fmt.Sprint("other", i), Head{})
	}
	c.fill("c", lease, Head{Seq: 6})
	if h, lease, ok := c.get("c"); ok || lease == 0 {
		t.Errorf("a late fill brought back %+v, %v", h, ok)
	} else {
		c.drop("c", lease)
	}
	if _, lease, ok := c.get("c"); ok || lease == 0 {
		t.Errorf("after a drop: lease %d, %v", lease, ok)
	}
}

// A change to what isn't there is a change to what somebody is looking up.
func TestCacheUpdates(t *testing.T) {
	c := newCache[int](10, nil)
	add := func(n int) int { return n + 1 }
	_, lease, _ := c.get("a")
	c.update("a", add)
	c.fill("a", lease, 1)
	n, lease, ok := c.get("a")
	if ok {
		t.Errorf("what was looked up before the change is %d", n)
	}
	c.fill("a", lease, 2)
	c.update("a", add)
	if n, _, ok := c.get("a"); !ok || n != 3 {
		t.Errorf("after the change: %d, %v", n, ok)
	}
}

func TestHeadCacheEvicts(t *testing.T) {
	c := newHeadCache(1000)
	for i := range 10000 {
		c.put(fmt.Sprint(i), Head{Seq: uint64(i)})
		c.get("0") // always in use
	}
	n := 0
	for i := range 10000 {
		h, lease, ok := c.get(fmt.Sprint(i))
		if ok {
			n++
			if h.Seq != uint64(i) {
				t.Fatalf("%d has the head %+v", i, h)
			}
		} else {
			c.drop(fmt.Sprint(i), lease)
		}
	}
	if _, _, ok := c.get("0"); !ok {
		t.Error("the one that was always in use was evicted")
	}
	slots := 0
	for i := range c.shards {
		slots += len(c.shards[i].slots)
		if len(c.shards[i].index) > c.shards[i].size {
			t.Errorf("shard %d has %d entries for %d slots", i, len(c.shards[i].index), c.shards[i].size)
		}
	}
	if n < 100 || slots > 1024 {
		t.Errorf("%d heads of 1000 found, %d slots", n, slots)
	}
}
