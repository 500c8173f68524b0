package chat

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"github.com/godwit-im/godwit/msgstore"
	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// TestTranscripts runs the files in testdata/transcripts: commands in, results, effects and
// state out. They are the specification of Apply; a change of a rule shows as a
// change of them.
//
//	send <user> <peer> <client id> [body] [kind=] [type=] [at=<ms>] [reply=] [target=]
//	     [mentions=(<user>, ...)] [mentionall=true] [ttl=<ms>] [flags=] [remove=true]
//	mark <user> <peer> [read=] [delivered=]
//	trim <user> <peer> below=
//	expire <user> <peer> seq= expires=<ms>
//	state <user> <peer>
//
// <user> <peer> name the direct conversation; in=<id> names another one, and
// in=system the user's system conversation; of one that is not direct,
// rows=(<user>, ...) says whose rows to show. ownCommand has more commands, and
// what rules= and full= are, and so has groupCommand. The clock ticks a second with every command, unless at= sets it. Ids are 101,
// 102, ... Every command is a commit of its own.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		tr := &transcript{store: openStore(t, storeOptions(vfs.NewMem())), nextID: 100}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := tr.run(d)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return out
		})
	})
}

type transcript struct {
	store  *msgstore.Store
	clock  int64
	nextID uint64
}

func (tr *transcript) run(d *datadriven.TestData) (string, error) {
	var words, mentions []string
	options := map[string]string{}
	for _, arg := range d.CmdArgs {
		switch {
		case len(arg.Vals) == 0:
			words = append(words, arg.Key)
		case arg.Key == "mentions":
			mentions = arg.Vals
		default:
			options[arg.Key] = arg.Vals[0]
		}
	}
	for len(words) < 2 {
		words = append(words, "?") // what has no peer
	}
	c := Command{User: words[0], Conversation: protocol.DirectID(words[0], words[1]), Rules: rulesOf(options["rules"])}
	switch in, ok := options["in"]; {
	case in == "system":
		c.Conversation = protocol.SystemID(c.User)
	case ok:
		c.Conversation = in
	}
	number := func(key string) (n uint64) {
		if s, ok := options[key]; ok {
			if _, err := fmt.Sscan(s, &n); err != nil {
				panic(fmt.Sprintf("%s=%s: %v", key, s, err))
			}
		}
		return n
	}
	switch d.Cmd {
	case "send":
		c.Op, c.ClientID = OpSend, words[2]
		c.Kind, c.ContentType = pb.Kind_KIND_TEXT, options["type"]
		if kind, ok := options["kind"]; ok {
			c.Kind = pb.Kind(pb.Kind_value["KIND_"+strings.ToUpper(kind)])
		}
		c.ReplySeq, c.Mentions, c.TTLMs = number("reply"), mentions, int64(number("ttl"))
		c.Flags, c.Target, c.Remove = uint32(number("flags")), number("target"), options["remove"] == "true"
		c.MentionAll = options["mentionall"] == "true"
		c.Body = []byte(strings.Join(words[3:], " "))
		tr.nextID++
		c.MessageID = tr.nextID
	case "mark":
		c.Op, c.ReadSeq, c.DeliveredSeq = OpMark, number("read"), number("delivered")
	case "trim":
		c.Op, c.User, c.Below = OpTrim, "", number("below")
	case "expire":
		c.Op, c.User, c.Seq, c.ExpiresMs = OpExpire, "", number("seq"), int64(number("expires"))
	case "state":
		users := strings.Split(c.Conversation[2:], ":")
		if arg, ok := d.Arg("rows"); ok {
			users = arg.Vals
		}
		return tr.state(c.Conversation, users)
	case "outbox":
		return tr.outbox()
	case "group":
		if err := tr.groupCommand(d, &c); err != nil {
			return "", err
		}
	default:
		if err := tr.ownCommand(d, words[1:], number, &c); err != nil {
			return "", err
		}
	}
	tr.clock += 1000
	if at := number("at"); at > 0 {
		tr.clock = int64(at)
	}
	c.TimeMs = tr.clock
	return tr.apply(&c)
}

func (tr *transcript) apply(c *Command) (string, error) {
	p := tr.store.PartitionOf(c.Conversation)
	index := tr.store.Applied(p) + 1
	tx := tr.store.Begin()
	r, effects, err := Apply(tx, index, c, nil)
	if err != nil {
		tx.Discard()
		return "", err
	}
	tx.SetApplied(p, index)
	if err := tx.Commit(); err != nil {
		return "", err
	}
	return show(c, r, effects), nil
}

// show renders what Apply returned.
func show(c *Command, r Result, effects []Effect) string {
	var b strings.Builder
	switch {
	case r.Err != nil:
		fmt.Fprintf(&b, "refused: %v\n", r.Err)
	case c.Op == OpSend:
		fmt.Fprintf(&b, "sent: seq=%d id=%d time=%d", r.Seq, r.ID, r.TimeMs)
		if r.Duplicate {
			b.WriteString(" duplicate")
		}
		b.WriteString("\n")
	case c.Op == OpMark:
		fmt.Fprintf(&b, "marked: read=%d delivered=%d %s\n", r.ReadSeq, r.DeliveredSeq, showCount(r.Count))
	case c.Op == OpTrim:
		fmt.Fprintf(&b, "trimmed: %d removed\n", r.Removed)
	case c.Op == OpExpire:
		b.WriteString("done\n")
	default:
		b.WriteString(showOwnResult(c, r))
	}
	for _, e := range effects {
		to := strings.Join(e.Users, ", ")
		if e.Group {
			to = strings.TrimSpace("all members " + to) // which has no users
		}
		switch e.Kind {
		case EffectFollowUp:
			fmt.Fprintf(&b, "follow up %d of %d in %s: %s in %s\n", e.FollowUp, e.Index, e.Source, prototext(e.Notice), e.Conversation)
			continue
		case EffectJoined:
			fmt.Fprintf(&b, "joined %s: %s\n", e.Conversation, to)
			continue
		case EffectLeft:
			fmt.Fprintf(&b, "left %s: %s\n", e.Conversation, to)
			continue
		case EffectDissolve:
			fmt.Fprintf(&b, "dissolved %s\n", e.Conversation)
			continue
		}
		fmt.Fprintf(&b, "tell %s: ", to)
		switch e.Kind {
		case EffectMessage:
			f, _, err := protocol.Parse(e.Frame, protocol.MaxBody)
			if err != nil || f.Type != protocol.TypeMessage {
				panic(fmt.Sprintf("bad frame in effect: %v %v", f.Type, err))
			}
			fmt.Fprintf(&b, "%s in %s at %d: %s\n", f.Type, e.Conversation, e.Seq, showMessage(f.Body))
		case EffectReceipt:
			fmt.Fprintf(&b, "RECEIPT in %s of %s: read=%d delivered=%d %s\n", e.Conversation, e.User, e.ReadSeq, e.DeliveredSeq, showCount(e.Count))
		case EffectState:
			f, _, err := protocol.Parse(e.Frame, protocol.MaxBody)
			if err != nil || f.Type != protocol.TypeState {
				panic(fmt.Sprintf("bad frame in effect: %v %v", f.Type, err))
			}
			m := &pb.State{}
			if err := proto.Unmarshal(f.Body, m); err != nil {
				panic(err)
			}
			fmt.Fprintf(&b, "%s in %s: %s\n", f.Type, e.Conversation, showState(m.State))
		}
	}
	return b.String()
}

func showCount(c Count) string {
	s := fmt.Sprintf("unread=%d", c.Unread)
	if c.MentionSeq > 0 {
		s += fmt.Sprintf(" mention=%d", c.MentionSeq)
	}
	return s
}

func showMessage(wire []byte) string {
	m := &pb.Message{}
	if err := proto.Unmarshal(wire, m); err != nil {
		panic(err)
	}
	s := fmt.Sprintf("%s/%s %q", m.Sender, m.ClientId, m.Body)
	if m.Kind == pb.Kind_KIND_CUSTOM {
		s += " custom " + m.ContentType
	}
	if m.Kind == pb.Kind_KIND_NOTICE {
		notice := &pb.Notice{}
		if err := proto.Unmarshal(m.Body, notice); err != nil {
			panic(err)
		}
		s = fmt.Sprintf("notice %s {%s}", m.ClientId, prototext(notice))
	}
	s += fmt.Sprintf(" id=%d time=%d count=%d/%d", m.Id, m.TimeMs, m.SenderCount, m.Count)
	if isEvent(m.Kind) {
		s += fmt.Sprintf(" %s of %d", name(m.Kind, "KIND_"), m.Target)
	}
	for _, f := range []struct {
		name   string
		value  any
		absent bool
	}{
		{"remove", m.Remove, !m.Remove},
		{"reply", m.ReplySeq, m.ReplySeq == 0},
		{"mentions", m.Mentions, len(m.Mentions) == 0},
		{"mentionall", true, !m.MentionAll},
		{"flags", m.Flags, m.Flags == 0},
		{"expires", m.ExpiresMs, m.ExpiresMs == 0},
		{"shown", m.ShownSeq, m.ShownSeq == 0},
		{"state", name(m.State, "MESSAGE_STATE_"), m.State == 0},
		{"changed", m.ChangedSeq, m.ChangedSeq == 0},
		{"edited", fmt.Sprintf("%d@%d", m.EditedSeq, m.EditedMs), m.EditedSeq == 0 && m.EditedMs == 0},
		{"by", m.RecalledBy, m.RecalledBy == ""},
	} {
		if !f.absent {
			s += fmt.Sprintf(" %s=%v", f.name, f.value)
		}
	}
	for _, r := range m.Reactions {
		s += fmt.Sprintf(" %d %q of %s", r.Count, r.Key, strings.Join(r.Users, ", "))
	}
	return s
}

// name is the lower-case name of an enum's value without its prefix.
func name(value fmt.Stringer, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(value.String(), prefix))
}

// state renders everything that is stored of a conversation, with the rows of
// users.
func (tr *transcript) state(conversation string, users []string) (string, error) {
	h, exists, err := tr.store.Head(conversation)
	if err != nil {
		return "", err
	}
	if !exists {
		return "does not exist\n", nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "head: seq=%d id=%d time=%d min=%d stamp=%d\n", h.Seq, h.ID, h.TimeMs, h.MinSeq, h.Stamp)
	group, err := tr.groupState(conversation)
	if err != nil {
		return "", err
	}
	b.WriteString(group)
	for _, user := range users {
		row, found, err := tr.store.Member(user, conversation)
		if err != nil {
			return "", fmt.Errorf("row of %s: %w", user, err)
		}
		if !found {
			fmt.Fprintf(&b, "%s: no row\n", user)
			continue
		}
		read := func(conversation string, seq uint64) ([]byte, error) {
			wire, found, err := tr.store.Message(conversation, seq)
			if err == nil && !found {
				err = fmt.Errorf("no message at seq %d", seq)
			}
			return wire, err
		}
		unread, err := Unread(read, tr.store.GoneBetween, h, row, conversation, user, tr.clock)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s: read=%d delivered=%d unread=%d stamp=%d", user, row.ReadSeq, row.DeliveredSeq, unread, row.Stamp)
		if row.Membership != nil {
			fmt.Fprintf(&b, " {%s}", prototext(row.Membership))
		}
		if deleted, err := tr.store.DeletedSince(user, conversation, 0); err != nil {
			return "", err
		} else if len(deleted) > 0 {
			fmt.Fprintf(&b, " deleted=%v", deleted)
		}
		mention, err := tr.store.FirstMention(user, conversation, row.ReadSeq, msgstore.Moment{Stamp: h.Stamp, TimeMs: tr.clock})
		if err != nil {
			return "", err
		}
		if mention > 0 {
			fmt.Fprintf(&b, " mention=%d", mention)
		}
		b.WriteString("\n")
	}
	for seq := h.MinSeq; seq <= h.Seq; seq++ {
		wire, found, err := tr.store.Message(conversation, seq)
		if err != nil || !found {
			return "", fmt.Errorf("message %d: found %v, %v", seq, found, err)
		}
		fmt.Fprintf(&b, "%d: %s\n", seq, showMessage(wire))
	}
	return b.String(), nil
}
