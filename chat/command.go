package chat

import (
	"time"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// Op is what a Command asks for. The numbers are stable: a replicated log
// carries them.
type Op uint8

// The operations.
const (
	OpSend     Op = 1 // append a message
	OpMark     Op = 2 // move a member's cursors forward
	OpTrim     Op = 3 // remove the messages below a seq
	OpGroup    Op = 4 // do something with a group
	OpSettings Op = 5 // change how a conversation is shown to a user
	OpDelete   Op = 6 // delete messages for a user
	OpContact  Op = 7 // change what the other user of a direct conversation is to a user
	OpAccount  Op = 8 // change a user's own choices
	OpSeen     Op = 9 // note when a user was online last

	// The log's own.
	OpNotify Op = 10 // append a notice to a system conversation, for a command of another partition
	OpForget Op = 11 // that notice is there; it need not be kept any longer
	OpExpire Op = 12 // turn a message whose time is over into a tombstone
)

// Command is one entry of a partition's log. It holds everything that may vary
// from one run to the next, the clock and the ids too, so that Apply needs
// nothing else.
type Command struct {
	Op           Op
	Conversation string
	User         string // who asks; "" for OpTrim

	// TimeMs (Unix milliseconds) and MessageID (where one may be needed) are filled in by
	// the Log when it takes the command on.
	TimeMs    int64
	MessageID uint64

	// OpSend, as in pb.Send. Body must not change until the Outcome is there.
	ClientID    string
	Kind        pb.Kind
	ContentType string
	Body        []byte

	// And, as in pb.Send.
	ReplySeq   uint64
	Mentions   []string
	MentionAll bool
	TTLMs      int64
	Flags      uint32
	Target     uint64
	Remove     bool

	// The request of OpGroup, OpSettings, OpDelete, OpContact, OpAccount. It must
	// not change.
	Group    *pb.GroupRequest
	Settings *pb.SetSettings
	Delete   *pb.Delete
	Contact  *pb.ContactRequest
	Account  *pb.SetAccount

	// Full names those of the users whom the command would bring into a group,
	// or to another contact, who have as many as they may have. To find out
	// takes a look at all partitions, so the submitter does.
	Full []string
	// Rules are the limits and policies that hold. The Log sets them.
	Rules *Rules
	// Takes, of an OpSend to a direct conversation, is what the other user has
	// chosen by Account.messages. Their account is in another partition, and to
	// copy it into all of their direct conversations would not do for those who
	// have none with them yet, so the Log looks when it takes the command on.
	Takes pb.Audience

	// OpNotify: the notice, with ClientID as its client message id. OpForget:
	// the index of the command that wanted it, and which of its notices it was.
	Notice   *pb.Notice
	Index    uint64
	FollowUp int

	// OpExpire: which message, and when it was to expire. OpSeen: when. In Unix
	// milliseconds.
	Seq       uint64
	ExpiresMs int64
	SeenMs    int64

	// OpMark, as in pb.Mark.
	ReadSeq      uint64
	DeliveredSeq uint64

	// OpTrim: the first seq to keep.
	Below uint64
}

// Result is what became of a Command.
type Result struct {
	// Err refuses the command; the other fields are then zero. It may be shared
	// between results and must not be changed.
	Err *protocol.Error

	// OpSend: where the message is. Duplicate marks the answer to a resend.
	Seq       uint64
	ID        uint64
	TimeMs    int64
	Duplicate bool

	// OpMark: the user's cursors as they now are, and what is unread past them, as
	// in pb.ConversationState.
	ReadSeq      uint64
	DeliveredSeq uint64
	Count        Count

	// OpGroup: the group as it is now, Seq is the notice's, and, for who joins,
	// how they stand. Like all that follows it may be shared and must not be
	// changed.
	Group    *pb.Group
	Standing pb.Standing
	// OpSettings.
	Settings *pb.Settings
	// OpDelete.
	ClearedSeq uint64
	// OpContact.
	Contact *pb.Contact
	// OpAccount.
	Account *pb.Account

	// OpTrim: how many messages went. Fewer than asked for means that the
	// command was cut short to keep the writer free: trim again.
	Removed int
}

// EffectKind tells the kinds of Effect apart.
type EffectKind uint8

// The kinds of effect.
const (
	EffectMessage  EffectKind = 1 // a message was stored
	EffectReceipt  EffectKind = 2 // a member's cursors moved
	EffectState    EffectKind = 3 // a user's own row of a conversation changed
	EffectJoined   EffectKind = 4 // users became members of a group
	EffectLeft     EffectKind = 5 // users are no members any more
	EffectDissolve EffectKind = 6 // a group ended: nobody is a member any more
	EffectFollowUp EffectKind = 7 // a notice is to be put into another conversation
)

// Effect is something that others must learn of, once it is durable. Effects
// are live news only: one that is lost, in a crash say, is made good by SYNC
// and PULL.
type Effect struct {
	Kind         EffectKind
	Conversation string
	Users        []string // who must learn of it, the one who caused it too
	// Group: all members of the group, the conversation, must learn of it, and
	// Users is empty.
	Group bool

	// EffectMessage, EffectState. Frame is the whole frame, MESSAGE or STATE,
	// header and all. The body of a MESSAGE is the stored encoding. It is shared
	// by all who get it and never changed.
	Seq   uint64
	Frame []byte

	// EffectFollowUp: Conversation is the system conversation that gets Notice,
	// and the rest names it: the command that wanted it was the one at Index in
	// the partition of Source, another conversation.
	Notice   *pb.Notice
	Source   string
	Index    uint64
	FollowUp int

	// EffectReceipt: whose cursors, and where they are.
	User         string
	ReadSeq      uint64
	DeliveredSeq uint64
	Count        Count // the user's own business: for User's sessions only
}

// Proposal is a Command on its way through a Log, with what its submitter needs
// to answer for it.
type Proposal struct {
	Command  Command
	Origin   any       // the submitter's; nil where nobody waits for an answer
	Request  uint32    // the submitter's
	InFlight int       // the submitter's: what the request takes up of its window, in bytes
	Accepted time.Time // when the request arrived, for latency figures

	// settled, where set, gets the result in the Sink's place: the log's own
	// commands. It runs on the writer's goroutine and must not block.
	settled func(Result)
}

// Outcome is a Proposal that has been applied and committed.
type Outcome struct {
	Proposal *Proposal
	Index    uint64 // of the command in its partition's log
	Result   Result
	Effects  []Effect
}

// Sink is told what became of the proposals: package delivery's part.
type Sink interface {
	// Deliver is called on a writer's goroutine after the commit, with the
	// outcomes in log order. Every other command of the partition waits while it
	// runs, so it must not block. outcomes and the effects in them are the
	// log's again once it returns; frames and proposals may be kept. Two writers
	// may call it at the same time.
	Deliver(outcomes []Outcome)
}

// Log takes commands on and has them applied in order. Its implementations are
// Embedded and, on several nodes, a replicated one.
type Log interface {
	// Submit hands p over: it must not be changed until its Outcome. It never
	// blocks. The error is a *protocol.Error: BUSY when the partition's queue is
	// full, STORAGE_FULL when nothing new can be stored, DRAINING when the log
	// is closing, INTERNAL when it has failed.
	Submit(p *Proposal) error
}

// appends reports whether a command may append a message, and so needs an id.
func (op Op) appends() bool {
	switch op {
	case OpSend, OpGroup, OpNotify:
		return true
	}
	return false
}

// adds reports whether a command stores what a client wants to have stored.
// MARK only moves what is there, and the log's own commands finish what was
// accepted.
func (op Op) adds() bool {
	switch op {
	case OpSend, OpGroup, OpContact, OpSettings, OpDelete, OpAccount:
		return true
	}
	return false
}

// followsUp reports whether a command is a part of another one's follow-up.
func (op Op) followsUp() bool { return op == OpNotify || op == OpForget }
