package session

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// heads decodes the one HEADS among frames into "conversation seq" lines.
func heads(t testing.TB, frames []protocol.Frame) []string {
	t.Helper()
	if len(frames) != 1 {
		t.Fatalf("frames %v, want HEADS", types(frames))
	}
	list := []string{}
	for _, h := range decode[pb.Heads](t, frames[0], protocol.TypeHeads).GetHeads() {
		list = append(list, fmt.Sprint(h.GetConversation(), " ", h.GetSeq()))
	}
	return list
}

func TestLag(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone")
	push := func(conversation string, seq uint64) { s.PushMessage(conversation, seq, message(conversation, seq)) }

	push("d:alice:bob", 1)
	s.Drained() // means nothing to a session that doesn't lag
	if frames := w.take(); len(frames) != 1 || frames[0].Type != protocol.TypeMessage {
		t.Fatalf("frames %v, want MESSAGE", types(frames))
	}

	w.setRefuse(true)
	push("d:alice:bob", 2)
	w.setRefuse(false) // from here on only the lag holds bodies back
	push("d:alice:bob", 3)
	push("d:alice:bob", 2) // effects run at least once; the highest seq counts
	push("d:alice:carol", 9)
	s.PushReceipt("d:alice:carol", receipt("d:alice:carol"))
	s.PushReceipt("d:alice:dave", receipt("d:alice:dave"))
	if frames := w.take(); len(frames) != 0 {
		t.Fatalf("frames %v while lagging, want none", types(frames))
	}
	if st := p.Stats(); st.Lagging.Load() != 1 || st.Lagged.Load() != 1 || st.HeadsSent.Load() != 0 {
		t.Errorf("lagging %d, lagged %d, heads %d", st.Lagging.Load(), st.Lagged.Load(), st.HeadsSent.Load())
	}
	s.Reply(protocol.AppendFrame(nil, protocol.TypePong, 5, nil)) // answers are not held back
	if frames := w.take(); len(frames) != 1 || frames[0].Type != protocol.TypePong {
		t.Fatalf("frames %v, want PONG", types(frames))
	}

	w.setRefuse(true)
	s.Drained() // room again, but not for long enough
	w.setRefuse(false)
	s.Drained()
	s.Drained() // once is enough
	got := strings.Join(heads(t, w.take()), ", ")
	// A conversation with both kinds has two entries: the client that pulls up
	// to 9 has not learnt of the receipt.
	if want := "d:alice:bob 3, d:alice:carol 0, d:alice:carol 9, d:alice:dave 0"; got != want {
		t.Errorf("HEADS %s, want %s", got, want)
	}
	push("d:alice:bob", 4)
	s.PushReceipt("d:alice:bob", receipt("d:alice:bob"))
	if got := types(w.take()); len(got) != 2 || got[0] != protocol.TypeMessage || got[1] != protocol.TypeReceipt {
		t.Errorf("frames %v after HEADS, want MESSAGE, RECEIPT", got)
	}
	if st := p.Stats(); st.Lagging.Load() != 0 || st.Lagged.Load() != 1 || st.HeadsSent.Load() != 1 {
		t.Errorf("lagging %d, lagged %d, heads %d", st.Lagging.Load(), st.Lagged.Load(), st.HeadsSent.Load())
	}
}

func TestLagOverflow(t *testing.T) {
	p := newPlace(t, func(c *Config) { c.MaxLagged = 3 })
	s, w := p.connect(t, "alice", "phone")
	lag := func(conversations int) []string {
		w.setRefuse(true)
		for range 2 { // the second time they are known already
			for i := range conversations {
				c := fmt.Sprint("d:alice:user", i)
				s.PushMessage(c, 1, message(c, 1))
			}
		}
		w.setRefuse(false)
		s.Drained()
		return heads(t, w.take())
	}
	if got := lag(3); len(got) != 3 {
		t.Errorf("HEADS %v, want 3 conversations", got)
	}
	if got := lag(4); len(got) != 0 {
		t.Errorf("HEADS %v, want none: too many", got)
	}
	if got := lag(1); len(got) != 1 {
		t.Errorf("HEADS %v after an overflow, want 1 conversation", got)
	}
}

// The largest HEADS fits the smallest frame that Validate allows for it.
func TestHeadsFitTheFrame(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxFrame, cfg.MaxBody = 1+protocol.MessageOverhead, 1
	cfg.MaxLagged = cfg.MaxFrame / maxHeadSize
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	l := lag{heads: map[missed]uint64{}}
	for i := range cfg.MaxLagged {
		user := fmt.Sprintf("%0*d", protocol.MaxID, i)
		l.remember(missed{conversation: protocol.DirectID(user, strings.Repeat("z", protocol.MaxID))}, 1<<64-1, cfg.MaxLagged)
	}
	f, _, err := protocol.Parse(l.frame(), cfg.MaxFrame)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(decode[pb.Heads](t, f, protocol.TypeHeads).GetHeads()); n != cfg.MaxLagged {
		t.Errorf("%d heads, want %d", n, cfg.MaxLagged)
	}
	if len(f.Body) <= cfg.MaxFrame-2*maxHeadSize {
		t.Errorf("maxHeadSize %d is too careful: %d heads take %d bytes", maxHeadSize, cfg.MaxLagged, len(f.Body))
	}
}

// Drained comes on the loop right after a Push was refused on another
// goroutine, before that goroutine could do anything about the refusal. The
// session must find out all the same, or it would lag for ever.
func TestNoLostWakeUp(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone")
	drained := make(chan struct{})
	s.transport = &refusing{wire: w, meanwhile: func() {
		go func() {
			defer close(drained)
			s.Drained()
		}()
		dwell(drained)
	}}
	s.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
	<-drained
	if got := heads(t, w.take()); len(got) != 1 || got[0] != "d:alice:bob 1" {
		t.Errorf("HEADS %v, want d:alice:bob 1", got)
	}
}

// refusing is a wire that refuses its first Push, after something else happened meanwhile.
type refusing struct {
	*wire
	meanwhile func()
}

func (r *refusing) Push(frame []byte) bool {
	if f := r.meanwhile; f != nil {
		r.meanwhile = nil
		f()
		return false
	}
	return r.wire.Push(frame)
}

// Four goroutines push into a transport that fills up while a loop drains it.
// In the end the client knows of every message: it had the body, or a HEADS
// after it was left out.
func TestLagRace(t *testing.T) {
	const pushers, each = 4, 3000
	p := newPlace(t)
	s, _ := p.connect(t, "alice", "phone")
	pipe := &pipe{room: 8, bell: make(chan struct{}, 1)}
	s.transport = pipe

	known := map[string]uint64{}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() { // the loop
		defer close(stopped)
		for {
			select {
			case <-pipe.bell:
			case <-stop:
				if pipe.drain(t, known) {
					s.Drained()
					continue
				}
				return
			}
			if pipe.drain(t, known) {
				s.Drained()
			}
		}
	}()
	var wg sync.WaitGroup
	for i := range pushers {
		wg.Go(func() {
			c := fmt.Sprint("d:alice:user", i)
			for seq := uint64(1); seq <= each; seq++ {
				s.PushMessage(c, seq, message(c, seq))
			}
		})
	}
	wg.Wait()
	close(stop)
	<-stopped
	for i := range pushers {
		if c := fmt.Sprint("d:alice:user", i); known[c] != each {
			t.Errorf("the client knows %s up to %d of %d", c, known[c], each)
		}
	}
	if n := p.Stats().Lagged.Load(); n == 0 {
		t.Error("the session never lagged: nothing was tested")
	}
	if n := p.Stats().Lagging.Load(); n != 0 {
		t.Errorf("%d sessions still lag", n)
	}
}

// pipe is a transport with room for a few frames, which remembers that it owes
// a Drained.
type pipe struct {
	wire
	room int
	bell chan struct{}

	pmu    sync.Mutex // guards the rest
	queued [][]byte
	owes   bool
}

func (p *pipe) Push(frame []byte) bool {
	defer func() {
		select {
		case p.bell <- struct{}{}:
		default:
		}
	}()
	p.pmu.Lock()
	defer p.pmu.Unlock()
	if len(p.queued) >= p.room {
		p.owes = true
		return false
	}
	p.queued = append(p.queued, frame)
	return true
}

// drain hands the queue to the client and reports whether a Drained is due.
func (p *pipe) drain(t *testing.T, known map[string]uint64) bool {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	for _, b := range p.queued {
		f, _, err := protocol.Parse(b, protocol.MaxBody)
		if err != nil {
			t.Error(err)
			return false
		}
		if f.Type == protocol.TypeHeads {
			for _, h := range decode[pb.Heads](t, f, protocol.TypeHeads).GetHeads() {
				known[h.GetConversation()] = h.GetSeq()
			}
			continue
		}
		m := decode[pb.Message](t, f, protocol.TypeMessage)
		if m.GetSeq() != known[m.GetConversation()]+1 {
			t.Errorf("%s: seq %d pushed after %d", m.GetConversation(), m.GetSeq(), known[m.GetConversation()])
		}
		known[m.GetConversation()] = m.GetSeq()
	}
	p.queued = nil
	owes := p.owes
	p.owes = false
	return owes
}

// Any order of pushes, refusals and drains: what a client can know from bodies
// and HEADS is what was pushed, up to what a lag holds back at the moment.
func TestLagModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 6).Draw(rt, "MaxLagged")
		p := newPlace(t, func(c *Config) { c.MaxLagged = limit })
		s, w := p.connect(t, "alice", "phone")
		var (
			pushed   = map[string]uint64{} // by conversation, the last seq
			known    = map[string]uint64{} // the same, as the client has it
			receipts = map[string]int{}    // how many were pushed
			seen     = map[string]int{}    // how many the client had or was pointed at
			missing  = map[missed]bool{}   // what must be in the next HEADS
			lagging  bool
		)
		conversations := rapid.SampledFrom([]string{"d:alice:bob", "d:alice:carol", "d:alice:dave", "d:alice:erin"})
		read := func(rt *rapid.T) {
			for _, f := range w.take() {
				switch f.Type {
				case protocol.TypeMessage:
					m := decode[pb.Message](t, f, f.Type)
					known[m.GetConversation()] = m.GetSeq()
				case protocol.TypeReceipt:
					seen[decode[pb.Receipt](t, f, f.Type).GetConversation()]++
				case protocol.TypeHeads:
					list := decode[pb.Heads](t, f, f.Type).GetHeads()
					if len(missing) > limit != (len(list) == 0) {
						rt.Fatalf("HEADS with %d entries for %d missing, the limit is %d", len(list), len(missing), limit)
					}
					if len(list) == 0 { // SYNC
						maps.Copy(known, pushed)
						maps.Copy(seen, receipts)
					}
					for _, h := range list {
						what := missed{h.GetConversation(), h.GetSeq() == 0}
						if !missing[what] {
							rt.Fatalf("HEADS names %v, which was not missing", what)
						}
						if what.receipt {
							seen[what.conversation] = receipts[what.conversation]
						} else {
							known[what.conversation] = h.GetSeq()
						}
					}
					missing, lagging = map[missed]bool{}, false
				}
			}
		}
		note := func(c string, isReceipt bool) {
			lagging = lagging || w.refuse
			if lagging {
				missing[missed{c, isReceipt}] = true
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"message": func(rt *rapid.T) {
				c := conversations.Draw(rt, "conversation")
				pushed[c]++
				note(c, false)
				s.PushMessage(c, pushed[c], message(c, pushed[c]))
				read(rt)
			},
			"receipt": func(rt *rapid.T) {
				c := conversations.Draw(rt, "conversation")
				receipts[c]++
				note(c, true)
				s.PushReceipt(c, receipt(c))
				read(rt)
			},
			"fill up": func(*rapid.T) { w.setRefuse(true) },
			"make room": func(rt *rapid.T) {
				w.setRefuse(false)
				s.Drained()
				read(rt)
			},
			"make too little room": func(rt *rapid.T) {
				w.setRefuse(true)
				s.Drained()
				read(rt)
			},
			"": func(rt *rapid.T) {
				if lagging != (s.lag != nil) || lagging != (p.Stats().Lagging.Load() == 1) {
					rt.Fatalf("lagging: %v, want %v", s.lag != nil, lagging)
				}
				for c := range pushed {
					if known[c] != pushed[c] && !missing[missed{c, false}] {
						rt.Fatalf("%s: the client knows %d of %d and nothing will tell it", c, known[c], pushed[c])
					}
				}
				for c := range receipts {
					if seen[c] != receipts[c] && !missing[missed{c, true}] {
						rt.Fatalf("%s: the client knows %d of %d receipts and nothing will tell it", c, seen[c], receipts[c])
					}
				}
			},
		})
	})
}

// A session that ends while it lags leaves nothing behind, and lags no more.
func TestLagEndsWithTheSession(t *testing.T) {
	p := newPlace(t)
	s, w := p.connect(t, "alice", "phone")
	w.setRefuse(true)
	s.PushMessage("d:alice:bob", 1, message("d:alice:bob", 1))
	s.Close(nil)
	w.setRefuse(false)
	s.Drained()
	w.setRefuse(true)
	p.Close(s)
	s.PushMessage("d:alice:bob", 2, message("d:alice:bob", 2))
	w.setRefuse(false)
	s.Drained()
	p.Close(s)
	if frames := w.take(); len(frames) != 0 {
		t.Errorf("frames %v after the end", types(frames))
	}
	if n := p.Stats().Lagging.Load(); n != 0 || s.lag != nil {
		t.Errorf("lagging %d, lag %v", n, s.lag)
	}
}

// Pushing to a session that keeps up costs nothing but the transport's work,
// and frames are passed on as they are, shared.
func TestPushSharesTheFrame(t *testing.T) {
	p := newPlace(t)
	s, _ := p.connect(t, "alice", "phone")
	var got []byte
	s.transport = &sink{got: &got}
	frame := message("d:alice:bob", 1)
	if n := testing.AllocsPerRun(100, func() { s.PushMessage("d:alice:bob", 1, frame) }); n != 0 {
		t.Errorf("a push allocates %v times", n)
	}
	if &got[0] != &frame[0] {
		t.Error("the frame was copied")
	}
	if n := testing.AllocsPerRun(100, func() {
		if s.Begin(10) == nil {
			s.End(10)
		}
	}); n != 0 {
		t.Errorf("the in-flight window allocates %v times", n)
	}
	dst := make([]*Session, 0, 4)
	if n := testing.AllocsPerRun(100, func() { dst = p.Sessions(dst[:0], "alice") }); n != 0 {
		t.Errorf("finding a user's sessions allocates %v times", n)
	}
	if size := proto.Size(&pb.Head{Conversation: strings.Repeat("c", protocol.MaxConversationID), Seq: 1<<64 - 1}); size+3 != maxHeadSize {
		t.Errorf("maxHeadSize is %d, want %d", maxHeadSize, size+3)
	}
}

// sink takes every push.
type sink struct {
	wire
	got *[]byte
}

func (s *sink) Push(frame []byte) bool {
	*s.got = frame
	return true
}
