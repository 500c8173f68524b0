package bench

import (
	"math"
	"time"

	"github.com/godwit-im/godwit/bench/client"
	"github.com/godwit-im/godwit/bench/report"
)

// stormLoop is a loop's part.
type stormLoop struct {
	*storm
	loop   *townLoop
	writer *person       // nil = the loop has the pairs
	turn   int           // of the writer's chats
	over   time.Duration // when the outage was, by the loop's clock; 0 = not yet
	last   [2]time.Duration
	// lastBack is last, for who waits for sumUp.
	lastBack  [2]time.Duration
	handshake *report.Recorder
	returns   [2]*report.Recorder
	pairs     [3]*report.Recorder
	traffic   []*arrivals
	// How often those who were lost have tried, all together and the one that
	// did most often.
	tries, most int
}

// populate makes a loop's people: a writer and those who are lost, or the pairs,
// which have the last loop to themselves: on one that thousands of connections
// keep busy they would measure the load.
func (s *storm) populate(l *townLoop) {
	part := &stormLoop{storm: s, loop: l, handshake: s.handshake.Recorder()}
	for i, h := range s.pairs {
		part.pairs[i] = h.Recorder()
	}
	for i, h := range s.returns {
		part.returns[i] = h.Recorder()
	}
	s.parts[l.number] = part
	l.on.connected, l.on.caughtUp, l.on.delivered = part.onConnected, part.onCaughtUp, part.onDelivered
	if l.number == s.cfg.Loops {
		for i := range s.cfg.Pairs {
			a, b := l.newPerson(firstPairUser+2*i), l.newPerson(firstPairUser+2*i+1)
			a.group, b.group = ofPairs, ofPairs
			a.writesTo(b)
		}
		return
	}
	writer := l.newPerson(firstWriter + l.number)
	writer.group, writer.slack = ofWriters, writerSlack
	part.writer = writer
	first, n := split(s.cfg.Sessions, s.cfg.Loops, l.number)
	addressed := int(math.Ceil(float64(n) * s.cfg.Addressed))
	for i := range n {
		p := l.newPerson(first + i)
		if i < addressed {
			writer.writesTo(p)
		}
	}
}

// writerSlack has the writers be back before most others when the server was
// gone.
const writerSlack = 20 * time.Millisecond

func (part *stormLoop) onConnected(p *person) {
	if part.over == 0 || p.group != ofStorm {
		return
	}
	part.handshake.Record(p.now() - p.device.Dialled())
	part.isBack(p, 0)
}

func (part *stormLoop) onCaughtUp(p *person) {
	if part.over != 0 && p.group == ofStorm {
		part.isBack(p, 1)
	}
}

func (part *stormLoop) isBack(p *person, how int) {
	took := p.now() - part.over
	part.returns[how].Record(took)
	part.last[how] = max(part.last[how], took)
	part.back[how].Add(1)
}

func (part *stormLoop) onDelivered(p *person, _ *client.Conversation, got client.Delivery) {
	if p.group == ofPairs {
		part.pairs[part.phase.Load()].Record(p.now() - got.Sent)
	}
}

// talk has the pairs chat and the writer write.
func (part *stormLoop) talk() {
	l, cfg := part.loop, &part.cfg
	begin := func(perSecond float64, write func(due time.Duration)) {
		part.traffic = append(part.traffic, l.arrivals(perSecond, write))
	}
	if part.writer == nil {
		for _, c := range l.chats {
			begin(cfg.PairRate, c.write)
		}
		return
	}
	begin(cfg.Rate/float64(cfg.Loops), func(due time.Duration) {
		l.chats[part.turn%len(l.chats)].write(due)
		part.turn++
	})
}

// sumUp leaves for the report what belongs to the loop, which may go on: people
// who are lost may still come back.
func (part *stormLoop) sumUp() {
	part.lastBack = part.last
	for _, p := range part.loop.people {
		if p.group == ofStorm {
			tried := p.device.Attempts - p.tried
			part.tries, part.most = part.tries+tried, max(part.most, tried)
		}
	}
}
