package ceiling

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/godwit-im/godwit/bench/fleet"
	"github.com/godwit-im/godwit/protocol"
)

// puller answers a PULL, whose body here is the number of a conversation in 4
// bytes.
type puller struct {
	db  *pebble.DB
	log logConfig

	mu       sync.Mutex // guards scanners
	scanners map[*loop]*scanner
}

func newPuller(log logConfig) (role, error) {
	db, err := openPebble(log.Dir)
	p := &puller{db: db, log: log, scanners: make(map[*loop]*scanner)}
	return role{frame: p.frame, close: p.close}, err
}

// of is the scanner of a loop.
func (p *puller) of(l *loop) *scanner {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.scanners[l]
	if s == nil {
		s = &scanner{db: p.db, log: p.log, reuse: true}
		p.scanners[l] = s
	}
	return s
}

func (p *puller) frame(c *conn, f protocol.Frame, _ []byte) (err error) {
	if f.Type != protocol.TypePull || len(f.Body) != 4 {
		return fmt.Errorf("an unexpected %s", f.Type)
	}
	l := c.loop
	at := len(l.answer)
	l.answer = append(l.answer, make([]byte, protocol.HeaderSize)...)
	l.answer, err = p.of(l).appendPage(l.answer, int(binary.BigEndian.Uint32(f.Body)))
	protocol.AppendHeader(l.answer[at:at], protocol.TypePulled, f.Request, len(l.answer)-at-protocol.HeaderSize)
	return err
}

// close is called when the loops have ended.
func (p *puller) close() (err error) {
	for _, s := range p.scanners {
		err = errors.Join(err, s.close())
	}
	return errors.Join(err, p.db.Close())
}

// reader is a flow: a connection with one PULL under way.
type reader struct {
	load   *load
	tally  tally
	log    logConfig
	random *rand.Rand

	conn      *fleet.Conn
	at        time.Duration // of the last PULL
	out, back uint64
}

func (r *reader) open(loop *fleet.Loop) (err error) {
	r.tally = r.load.tallies[loop]
	r.conn, err = loop.Dial(fleet.Dialing{Addr: r.load.addr}, r)
	return err
}

func (r *reader) begin(now time.Duration) { r.pull(now) }

func (r *reader) sent() uint64 { return r.out }

func (r *reader) pull(now time.Duration) {
	if now >= r.load.until {
		r.load.done <- struct{}{}
		return
	}
	r.at = now
	b := protocol.AppendHeader(r.conn.Buffer(), protocol.TypePull, request(r.out), 4)
	r.conn.Wrote(binary.BigEndian.AppendUint32(b, uint32(r.random.IntN(r.log.Conversations))))
	r.out++
}

// OnOpen implements fleet.Handler.
func (r *reader) OnOpen(*fleet.Conn) { r.load.ready <- struct{}{} }

// OnData implements fleet.Handler.
func (r *reader) OnData(conn *fleet.Conn, b []byte) int {
	taken, err := eachFrame(b, func(f protocol.Frame) error { return r.pulled(f) })
	if err != nil {
		return r.load.abandoned(b, err)
	}
	if taken > 0 {
		now := conn.Loop().Now()
		if r.load.measured(r.at) {
			r.tally.first.Record(now - r.at)
		}
		r.pull(now)
	}
	return taken
}

// OnClose implements fleet.Handler.
func (r *reader) OnClose(_ *fleet.Conn, err error) { r.load.closed("a connection", err) }

// pulled checks a page: all its seqs, in order.
func (r *reader) pulled(f protocol.Frame) error {
	if r.back == r.out || f.Type != protocol.TypePulled || f.Request != request(r.back) {
		return fmt.Errorf("an unexpected %s, request %d", f.Type, f.Request)
	}
	r.back++
	due := uint64(r.log.Each-r.log.Page) + 1
	for b := f.Body; len(b) > 0; due++ {
		_, _, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		m, n := protowire.ConsumeBytes(b[tag:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[tag+n:]
		if seq := seqOf(m); seq != due {
			return fmt.Errorf("seq %d came where %d was due", seq, due)
		}
	}
	if due != uint64(r.log.Each)+1 {
		return fmt.Errorf("a page ends before seq %d", due)
	}
	return nil
}

// seqOf is the seq of an encoded Message, its second field.
func seqOf(m []byte) uint64 {
	_, _, n := protowire.ConsumeField(m)
	if n < 0 {
		return 0
	}
	num, typ, tag := protowire.ConsumeTag(m[n:])
	if num != 2 || typ != protowire.VarintType {
		return 0
	}
	seq, _ := protowire.ConsumeVarint(m[n+tag:])
	return seq
}
