// Package journal is what a test client writes down about its own
// conversations, and the checker that judges from those journals alone whether
// the server kept its promises.
//
// A journal is a file of JSON lines, one per event, in the order in which the
// client saw them. The package imports nothing of Godwit's: a checker that
// shared code with what it checks would share its defects.
package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
)

// Op says what an Entry records.
type Op string

// The events of a client's life.
const (
	// OpClient is the first line: User and Device name the client.
	OpClient Op = "client"
	// OpOpen states that the client takes part in Conversation, and so must have
	// received by the end all of it that its user may read. History is set for a
	// group.
	OpOpen Op = "open"
	// OpQuiet states that nothing was written any more when the client began to
	// read: what it is handed must be as it is in the end.
	OpQuiet Op = "quiet"
	// OpSend: the client asked for ClientID to be sent: Body, Kind and Target. The
	// order of these lines is the order of sending.
	OpSend Op = "send"
	// OpAck: the server confirmed ClientID with Seq, ID and TimeMs. For a reaction
	// that changes nothing these are of what made the target as it is.
	OpAck Op = "ack"
	// OpRefuse: the server refused ClientID for good, with Code.
	OpRefuse Op = "refuse"
	// OpReceive: the application was handed a message: all fields.
	OpReceive Op = "receive"
	// OpSkip: the application was told that the seqs from Seq to To are not to be
	// had.
	OpSkip Op = "skip"
	// OpWire: the message at Seq of a group came over the client's connection,
	// whether it was handed to the application or not.
	OpWire Op = "wire"
	// OpAsk: the client asked for what Notice says, about Users.
	OpAsk Op = "ask"
	// OpDone: the server confirmed what was asked; Seq is that of the notice in the
	// group. An answer without one is not written down.
	OpDone Op = "done"
	// OpLive: the client was started, at the time At.
	OpLive Op = "live"
	// OpLapse: the application was told that the message at Seq says nothing any more
	// to its user, for the reason Lapse, and when (At).
	OpLapse Op = "lapse"
	// OpSet: the client asked, over its connection, for Row to become Value, or what
	// Seq says. Each attempt is one.
	OpSet Op = "set"
	// OpIsSet: the server confirmed an OpSet, of which it has all fields.
	OpIsSet Op = "is set"
	// OpRow: the server said that Row is Value, or Seq. What a client says that is
	// quiet is how the row is in the end.
	OpRow Op = "row"
)

// ops are those of all lines but the first.
var ops = []Op{
	OpOpen, OpQuiet, OpSend, OpAck, OpRefuse, OpReceive, OpSkip, OpWire, OpAsk, OpDone, OpLive, OpLapse, OpSet, OpIsSet, OpRow,
}

// MessageKind says what a message is.
type MessageKind string

// The kinds. The zero one is a message with something to say; the next four are
// events, which change the message at Target.
const (
	KindEdit    MessageKind = "edit"
	KindRecall  MessageKind = "recall"
	KindReact   MessageKind = "react"
	KindUnreact MessageKind = "unreact"
	// KindNotice is the server's: Notice says what happened to Users in a group,
	// and Actor who did it. In a user's own feed, About is the group, or the direct
	// conversation of the two, and Body what Actor says.
	KindNotice MessageKind = "notice"
)

func (k MessageKind) isEvent() bool {
	return k == KindEdit || k == KindRecall || k == KindReact || k == KindUnreact
}

// What Entry.Notice may say, besides what is of no concern here.
const (
	NoticeCreated = "created"
	NoticeAdded   = "added"
	NoticeJoined  = "joined"
	NoticeLeft    = "left"
	NoticeRemoved = "removed"
	NoticeInvited = "invited" // in the feed of who was

	// In the feed of the other one, about two users who are or are not contacts.
	NoticeRequested = "requested"
	NoticeAccepted  = "accepted"
	NoticeRefused   = "refused"
)

// What Entry.History may say of a group: what a new member sees of it.
const (
	HistoryAll  = "all"
	HistoryJoin = "join" // from the notice that says so on
	// HistoryFollow is that of a broadcast: all of it, and who follows it is not
	// said in its log.
	HistoryFollow = "follow"
)

// What Entry.Lapse may say: why a message that was not recalled says nothing any
// more.
const (
	LapseExpired = "expired" // its time to live is over
	LapseDeleted = "deleted" // its reader has deleted it for themselves
	LapseCleared = "cleared" // and everything before it
)

// Entry is one line of a journal.
type Entry struct {
	Op           Op     `json:"op"`
	User         string `json:"user,omitempty"`
	Device       string `json:"device,omitempty"`
	Conversation string `json:"conv,omitempty"`
	Sender       string `json:"sender,omitempty"`
	ClientID     string `json:"client_id,omitempty"`
	// Body is Sum of the message's body.
	Body   string      `json:"body,omitempty"`
	Seq    uint64      `json:"seq,omitempty"`
	ID     uint64      `json:"id,omitempty"`
	TimeMs int64       `json:"time_ms,omitempty"`
	Kind   MessageKind `json:"kind,omitempty"`
	Target uint64      `json:"target,omitempty"`
	From   uint64      `json:"from,omitempty"`
	To     uint64      `json:"to,omitempty"`
	Code   string      `json:"code,omitempty"`

	// The state of a message when it was handed. Version is the seq of the newest
	// event in it, Gone that it says nothing any more. Reactions names who has
	// which, as by Reactions.
	Version   uint64 `json:"version,omitempty"`
	Gone      bool   `json:"gone,omitempty"`
	Reactions string `json:"reactions,omitempty"`

	// Lapse says why a message is gone, unless it was recalled. At is when the client
	// was told what may depend on the time: Unix milliseconds by the clock that the
	// server has, too.
	Lapse string `json:"lapse,omitempty"`
	At    int64  `json:"at,omitempty"`

	// Mentions names who is mentioned, as by Users; Everybody is all. TTL is for how
	// long a message was sent to live, in milliseconds, Expires when that is over.
	Mentions string `json:"mentions,omitempty"`
	TTL      int64  `json:"ttl,omitempty"`
	Expires  int64  `json:"expires,omitempty"`

	Row   Row    `json:"row,omitempty"`
	Value string `json:"value,omitempty"`

	Notice  string `json:"notice,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Users   string `json:"users,omitempty"` // as by Users
	About   string `json:"about,omitempty"`
	History string `json:"history,omitempty"`
}

// Everybody is whom a message mentions that mentions all.
const Everybody = "*"

// Users is how a journal names users.
func Users(users ...string) string {
	return strings.Join(slices.Sorted(slices.Values(users)), " ")
}

// Reactions is how a journal names reactions, of which users have each: by Sum of
// the reaction.
func Reactions(users map[string][]string) string {
	var all []string
	for key, who := range users {
		if len(who) > 0 {
			all = append(all, key+"="+Users(who...))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ";")
}

// Sum is how a journal names a body: enough of its SHA-256 that two bodies do
// not meet.
func Sum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:12])
}

// Writer appends to one client's journal. Its methods may be called from any
// goroutine. An entry has left the process when Add returns, so a killed
// client loses at most half a line.
type Writer struct {
	mu sync.Mutex // guards f and the order of lines
	f  *os.File
}

// Create starts the journal of one client in a new file.
func Create(path, user, device string) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	w := &Writer{f: f}
	return w, w.Add(Entry{Op: OpClient, User: user, Device: device})
}

// Add appends one entry.
func (w *Writer) Add(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.f.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}

// Close closes the file.
func (w *Writer) Close() error { return w.f.Close() }

// Journal is one client's journal, read back.
type Journal struct {
	User, Device string
	Entries      []Entry // without the OpClient line
}

// Name is how reports call the client.
func (j *Journal) Name() string { return j.User + "/" + j.Device }

// Load reads a journal's file.
func Load(path string) (*Journal, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	defer f.Close()
	j, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return j, nil
}

// Read reads a journal. A last line without its end is what a killed client
// left, and is ignored; any other line that is not an entry is an error.
func Read(r io.Reader) (*Journal, error) {
	j := &Journal{}
	in := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			if n == 1 {
				return nil, fmt.Errorf("it is empty")
			}
			return j, nil
		}
		if err != nil {
			return nil, err
		}
		var e Entry
		dec := json.NewDecoder(bytes.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		switch {
		case n == 1 && e.Op == OpClient:
			j.User, j.Device = e.User, e.Device
		case n > 1 && slices.Contains(ops, e.Op):
			j.Entries = append(j.Entries, e)
		default:
			return nil, fmt.Errorf("line %d: op %q does not belong there", n, e.Op)
		}
	}
}
