package delivery

import (
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/session"
)

var (
	errNotAMember = protocol.Errorf(pb.Code_CODE_NOT_A_MEMBER, "not a member of this conversation")
	errNotAGroup  = protocol.Errorf(pb.Code_CODE_BAD_ARGUMENT, "this conversation is no group")
	errNotAllowed = protocol.Errorf(pb.Code_CODE_NOT_ALLOWED, "you may not see this of this group")
	errNotFound   = protocol.Errorf(pb.Code_CODE_NOT_FOUND, "there is no such message for you to read")
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

// Info answers an INFO with INFORMED, as Pull does a PULL.
func (d *Delivery) Info(s *session.Session, request uint32, req *pb.Info, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		return d.info(s.User, request, req)
	}})
}

// Members answers a MEMBERS with MEMBER_LIST, as Pull does a PULL.
func (d *Delivery) Members(s *session.Session, request uint32, req *pb.Members, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		return answer(protocol.TypeMemberList, request)(d.memberList(s.User, req))
	}})
}

// Readers answers a READERS with READER_LIST, as Pull does a PULL.
func (d *Delivery) Readers(s *session.Session, request uint32, req *pb.Readers, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		return answer(protocol.TypeReaderList, request)(d.readerList(s.User, req))
	}})
}

// Reactors answers a REACTORS with REACTOR_LIST, as Pull does a PULL.
func (d *Delivery) Reactors(s *session.Session, request uint32, req *pb.Reactors, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		return answer(protocol.TypeReactorList, request)(d.reactorList(s.User, req))
	}})
}

// Contacts answers a CONTACTS with CONTACT_LIST, as Pull does a PULL.
func (d *Delivery) Contacts(s *session.Session, request uint32, req *pb.Contacts, inFlight int) error {
	return d.turns.add(s, job{request: request, inFlight: inFlight, read: func() ([]byte, error) {
		return answer(protocol.TypeContactList, request)(d.contactList(s.User, req))
	}})
}

// answer returns what makes a frame of a message that answers a request.
func answer(t protocol.Type, request uint32) func(m proto.Message, err error) ([]byte, error) {
	return func(m proto.Message, err error) ([]byte, error) {
		if err != nil {
			return nil, err
		}
		return protocol.AppendProto(nil, t, request, m), nil
	}
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

// limit is what a client gets that wishes for so many; 0 is no wish.
func limit(wanted uint32, byDefault, most int) int {
	if wanted == 0 {
		return byDefault
	}
	return int(min(uint64(wanted), uint64(most)))
}

// draftGuess is the capacity in bytes that a draft begins with: a dozen messages.
const draftGuess = 4 << 10
