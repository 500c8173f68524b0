package delivery

import (
	"bytes"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

var (
	errNotAMember = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	errBadCursor  = protocol.Errorf(pb.Code_CODE_BAD_CURSOR, "this is no cursor of a SYNCED; sync without one")
)

// Pull answers a PULL on a worker: with PULLED, or with an ERROR. inFlight is
// what the request takes up of the session's window, in bytes; it is given back
// with the answer. req must not change until then. An error is a *protocol.Error
// and means that there will be no answer: the caller gives one, and calls
// s.End.
func (d *Delivery) Pull(s *session.Session, request uint32, req *pb.Pull, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		d.stats.pulls.Add(1)
		return d.pull(s.User, request, req)
	}})
}

// Sync answers a SYNC with SYNCED, as Pull does a PULL.
func (d *Delivery) Sync(s *session.Session, request uint32, req *pb.Sync, inFlight int) error {
	began := d.cfg.Now()
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		d.stats.syncs.Add(1)
		frame, err := d.sync(d.applied(), s.User, request, req)
		if d.cfg.ObserveSync != nil {
			d.cfg.ObserveSync(d.cfg.Now().Sub(began))
		}
		return frame, err
	}})
}

// Prepare calls prepare on a worker, in the session's turn, for what a request
// takes that is not a read itself. Where prepare returns nil, others answer the
// request and give back what it takes up of the window; where it returns an error,
// that is the answer. An error of Prepare's is as one of Pull's.
func (d *Delivery) Prepare(s *session.Session, request uint32, inFlight int, prepare func() error) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) { return nil, prepare() }})
}

// Do answers a request with what read returns, as Pull does a PULL. then, where it
// isn't nil, is called after an answer that is no ERROR has been queued, and before
// the session's next read begins.
func (d *Delivery) Do(s *session.Session, request uint32, inFlight int, read func() ([]byte, error), then func()) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: read, then: then})
}

// pulledTail bounds the encoding of Pulled's fields but messages.
const pulledTail = 2 + 11 + 11

// pull reads a page of a conversation. How long it is shows when it is read: it
// grows in a draft that is used again, and what waits for the session is of its
// size.
func (d *Delivery) pull(user string, request uint32, req *pb.Pull) ([]byte, error) {
	if _, _, err := protocol.ParseDirect(req.Conversation); err != nil {
		return nil, err
	}
	if _, member := protocol.Peer(req.Conversation, user); !member {
		return nil, errNotAMember
	}
	head, exists, err := d.store.Head(req.Conversation)
	switch {
	case err != nil:
		return nil, err
	case !exists:
		return nil, errNotAMember // whether others talk is nobody else's business
	case req.From > head.Seq+1:
		return nil, protocol.Errorf(pb.Code_CODE_SEQ_OUT_OF_RANGE, "from is %d, the head is %d", req.From, head.Seq)
	case wrongWay(req):
		return nil, protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "until %d lies the wrong way from %d", req.Until, req.From)
	}
	from := req.From
	if req.Backward {
		from = min(from, head.Seq)
	}
	limit := limit(req.Limit, d.cfg.PullLimit, d.cfg.MaxPull)
	draft := d.drafts.Get().(*[]byte)
	defer d.drafts.Put(draft)
	page, err := d.store.Range(req.Conversation, from, req.Until, req.Backward, limit, d.cfg.MaxFrame-pulledTail, (*draft)[:protocol.HeaderSize])
	if err != nil {
		return nil, err
	}
	*draft = appendProto(page.Encoded, &pb.Pulled{More: page.More, HeadSeq: page.Head, MinSeq: page.Min})
	return bytes.Clone(finish(*draft, protocol.TypePulled, request)), nil
}

func wrongWay(req *pb.Pull) bool {
	switch {
	case req.Until == 0 || req.From == 0:
		return false
	case req.Backward:
		return req.Until > req.From
	}
	return req.Until < req.From
}

// limit is what a client gets that wishes for so many; 0 is no wish.
func limit(wanted uint32, byDefault, most int) int {
	if wanted == 0 {
		return byDefault
	}
	return int(min(uint64(wanted), uint64(most)))
}

// draftGuess is the capacity in bytes that a draft begins with: a dozen messages.
const draftGuess = 4 << 10
