package chat

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/godwit-im/godwit/protocol"
	"github.com/godwit-im/godwit/protocol/pb"
)

// ownCommand fills in the commands about what is a user's own:
//
//	contact <user> <peer> <action> [text]
//	settings <user> <peer> [pinned=] [muted=] [archived=] [draft=] [unread=] [hidden=]
//	delete <user> <peer> [seqs=(seq, ...)] [clear=]
//	account <user> presence=<audience>
//	seen <user> ms=
//	notify <user> <client id> <text>
//	forget <user> <peer> index= [n=]
//	outbox
//
// full=(user, ...) names those who have as many contacts as they may have, and
// rules=, beside the default rules, one of contacts-only, tell-blocked and
// delete-two.
func (tr *transcript) ownCommand(d *datadriven.TestData, words []string, number func(string) uint64, c *Command) error {
	values := func(key string) []string {
		arg, _ := d.Arg(key)
		return arg.Vals
	}
	flag := func(key string) *bool {
		if v := values(key); len(v) > 0 {
			return proto.Bool(v[0] == "true")
		}
		return nil
	}
	c.Full = values("full")
	switch d.Cmd {
	case "contact":
		action, known := pb.ContactAction_value["CONTACT_ACTION_"+strings.ToUpper(words[1])]
		if !known {
			return fmt.Errorf("unknown action %q", words[1])
		}
		c.Op, c.Contact = OpContact, &pb.ContactRequest{User: words[0], Action: pb.ContactAction(action), Text: strings.Join(words[2:], " ")}
	case "settings":
		c.Op, c.Settings = OpSettings, &pb.SetSettings{
			Conversation: c.Conversation, Pinned: flag("pinned"), Muted: flag("muted"), Archived: flag("archived"),
			MarkedUnread: flag("unread"), Hidden: flag("hidden"),
		}
		if v := values("draft"); len(v) > 0 {
			c.Settings.Draft = proto.String(v[0])
		}
	case "delete":
		c.Op, c.Delete = OpDelete, &pb.Delete{Conversation: c.Conversation, ClearSeq: number("clear")}
		for _, v := range values("seqs") {
			var seq uint64
			if _, err := fmt.Sscan(v, &seq); err != nil {
				return err
			}
			c.Delete.Seqs = append(c.Delete.Seqs, seq)
		}
	case "account":
		c.Op, c.Conversation = OpAccount, protocol.SystemID(c.User)
		audience := pb.Audience(pb.Audience_value["AUDIENCE_"+strings.ToUpper(values("presence")[0])])
		c.Account = &pb.SetAccount{Presence: &audience}
	case "seen":
		c.Op, c.Conversation, c.SeenMs = OpSeen, protocol.SystemID(c.User), int64(number("ms"))
	case "notify":
		c.Op, c.ClientID = OpNotify, words[0]
		if len(values("in")) == 0 {
			c.Conversation = protocol.SystemID(c.User)
		}
		c.Notice = &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_CONTACT_REQUESTED, Text: strings.Join(words[1:], " ")}
		c.User = ""
		tr.nextID++
		c.MessageID = tr.nextID
	case "forget":
		c.Op, c.User, c.Index, c.FollowUp = OpForget, "", number("index"), int(number("n"))
	default:
		return fmt.Errorf("unknown command %q", d.Cmd)
	}
	return nil
}

func rulesOf(name string) *Rules {
	rules := DefaultRules()
	switch name {
	case "contacts-only":
		rules.ContactsOnly = true
	case "tell-blocked":
		rules.TellBlocked = true
	case "delete-two":
		rules.MaxDeleted = 2
	case "receipts-of-two":
		rules.ReceiptMembers = 2
	case "ask-first":
		rules.AskFirst = true
	case "three-members":
		rules.MaxMembers, rules.MaxFollowers = 3, 3
	}
	return &rules
}

// outbox renders the follow-ups that wait.
func (tr *transcript) outbox() (string, error) {
	var b strings.Builder
	for p := range tr.store.Partitions() {
		err := tr.store.FollowUps(p, func(source string, index uint64, n int, conversation string, wire []byte) error {
			notice := &pb.Notice{}
			if err := proto.Unmarshal(wire, notice); err != nil {
				return err
			}
			fmt.Fprintf(&b, "%d of %d in %s: %s in %s\n", n, index, source, prototext(notice), conversation)
			return nil
		})
		if err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

func showOwnResult(c *Command, r Result) string {
	switch c.Op {
	case OpContact:
		return fmt.Sprintf("contacted: %s\n", prototext(r.Contact))
	case OpSettings:
		return fmt.Sprintf("set: %s\n", prototext(r.Settings))
	case OpDelete:
		return fmt.Sprintf("deleted: cleared=%d\n", r.ClearedSeq)
	case OpAccount:
		return fmt.Sprintf("accounted: %s\n", prototext(r.Account))
	case OpNotify:
		return fmt.Sprintf("notified: seq=%d duplicate=%v\n", r.Seq, r.Duplicate)
	case OpSeen, OpForget:
		return "done\n"
	case OpGroup:
		return showGroupResult(r)
	}
	return ""
}

func showState(s *pb.ConversationState) string {
	s = proto.Clone(s).(*pb.ConversationState)
	s.Conversation = ""
	s.CountedMs = 0 // the time of the command
	return prototext(s)
}

// prototext renders a message on one line, in the order of its field numbers.
// The library's own text is different from one build to the next, on purpose.
func prototext(m proto.Message) string {
	r := m.ProtoReflect()
	var parts []string
	fields := r.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !r.Has(f) {
			continue
		}
		v := r.Get(f)
		switch {
		case f.IsList():
			var all []string
			for j := range v.List().Len() {
				all = append(all, showValue(f, v.List().Get(j)))
			}
			parts = append(parts, fmt.Sprintf("%s=[%s]", f.Name(), strings.Join(all, " ")))
		default:
			parts = append(parts, fmt.Sprintf("%s=%s", f.Name(), showValue(f, v)))
		}
	}
	return strings.Join(parts, " ")
}

func showValue(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	switch f.Kind() {
	case protoreflect.BytesKind:
		return fmt.Sprintf("%q", v.Bytes())
	case protoreflect.MessageKind:
		return "{" + prototext(v.Message().Interface()) + "}"
	case protoreflect.EnumKind:
		// CONTACT_STATE_PENDING of ContactState is PENDING.
		name, zero := f.Enum().Values().ByNumber(v.Enum()).Name(), f.Enum().Values().Get(0).Name()
		prefix := string(zero[:strings.LastIndexByte(string(zero), '_')+1])
		return strings.TrimPrefix(string(name), prefix)
	}
	return fmt.Sprint(v.Interface())
}

// drawOwnCommand makes c one of these commands.
func drawOwnCommand(t *rapid.T, c *Command) {
	flag := func(name string) *bool {
		switch rapid.IntRange(0, 2).Draw(t, name) {
		case 0:
			return nil
		case 1:
			return proto.Bool(false)
		}
		return proto.Bool(true)
	}
	if rapid.IntRange(0, 3).Draw(t, "system") == 0 {
		c.Conversation = protocol.SystemID(c.User)
	}
	switch rapid.IntRange(0, 9).Draw(t, "own op") {
	case 0, 1:
		c.Op, c.Settings = OpSettings, &pb.SetSettings{
			Pinned: flag("pinned"), Muted: flag("muted"), MarkedUnread: flag("unread"), Hidden: flag("hidden"),
		}
		c.Settings.Draft = proto.String(rapid.SampledFrom([]string{"", "draft"}).Draw(t, "draft"))
	case 2, 3:
		c.Op, c.Delete = OpDelete, &pb.Delete{
			Seqs:     rapid.SliceOfN(rapid.Uint64Range(1, 12), 0, 3).Draw(t, "seqs"),
			ClearSeq: rapid.Uint64Range(0, 6).Draw(t, "clear"),
		}
	case 4:
		c.Op, c.Account = OpAccount, &pb.SetAccount{}
		if rapid.Bool().Draw(t, "presence") {
			c.Account.Presence = pb.Audience_AUDIENCE_CONTACTS.Enum()
		}
	case 5:
		c.Op, c.SeenMs = OpSeen, rapid.Int64Range(1, 1000).Draw(t, "seen")
	case 6:
		c.Op, c.Conversation = OpNotify, protocol.SystemID(c.User)
		c.ClientID = rapid.StringMatching("f[0-3]").Draw(t, "follow-up")
		c.Notice = &pb.Notice{Type: pb.NoticeType_NOTICE_TYPE_CONTACT_ACCEPTED, Actor: "eve"}
	case 7:
		c.Op, c.Index = OpForget, rapid.Uint64Range(1, 30).Draw(t, "index")
	default:
		peer := rapid.SampledFrom(drawnUsers).Filter(func(p string) bool { return p != c.User }).Draw(t, "contact")
		c.Op, c.Conversation = OpContact, protocol.DirectID(c.User, peer)
		c.Contact = &pb.ContactRequest{User: peer, Text: "text", Action: pb.ContactAction(rapid.IntRange(1, 7).Draw(t, "action"))}
		if rapid.IntRange(0, 4).Draw(t, "full") == 0 {
			c.Full = []string{peer}
		}
	}
}
