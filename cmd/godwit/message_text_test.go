package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/godwit-im/godwit/protocol/pb"
	"github.com/godwit-im/godwit/sdk-go"
	"github.com/godwit-im/godwit/sdk-go/call"
)

func TestOneLine(t *testing.T) {
	text := func(change func(m *godwit.Message)) godwit.Message {
		m := godwit.Message{Seq: 7, Sender: "alice", Kind: godwit.KindText, Body: []byte("a\nb")}
		change(&m)
		return m
	}
	for want, m := range map[string]godwit.Message{
		"a↵b": text(func(*godwit.Message) {}),
		"(re #3) a↵b (edited) [👍 2, \ufffd 1]": text(func(m *godwit.Message) {
			m.Reply, m.Edited = 3, time.Now()
			m.Reactions = []godwit.Reaction{{Key: "👍", Count: 2}, {Key: "\x1b", Count: 1}}
		}),
		"(recalled by bob)":         text(func(m *godwit.Message) { m.State, m.RecalledBy = godwit.MessageRecalled, "bob" }),
		"(expired)":                 text(func(m *godwit.Message) { m.State = godwit.MessageExpired }),
		"(deleted by you, for you)": text(func(m *godwit.Message) { m.State = godwit.MessageDeleted }),
		"[\ufffd.jpg, image/jpeg, 9 bytes, 4×3, at a↵b]": text(func(m *godwit.Message) {
			m.Kind = godwit.KindMedia
			m.Media = &godwit.Media{ObjectKey: "a\nb", Name: "\x07.jpg", ContentType: "image/jpeg", Size: 9, Width: 4, Height: 3}
		}),
		"[no content type, 0 bytes, 1.5s, at k]": text(func(m *godwit.Message) {
			m.Kind, m.Media = godwit.KindMedia, &godwit.Media{ObjectKey: "k", Duration: 1500 * time.Millisecond}
		}),
		"[x/y, 3 bytes]": text(func(m *godwit.Message) { m.Kind, m.ContentType = godwit.KindCustom, "x/y" }),
		"bob joined": text(func(m *godwit.Message) {
			m.Kind, m.Sender = godwit.KindNotice, ""
			m.Notice = &godwit.Notice{Type: godwit.NoticeMembersJoined, Actor: "bob", Users: []string{"bob"}}
		}),
	} {
		if got := oneLine(m); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNoticeText(t *testing.T) {
	until := time.Date(2026, 1, 2, 15, 4, 0, 0, time.Local)
	group := &godwit.Group{Name: "fri\x1bends", Join: godwit.JoinOpen, Muted: true, Notice: "be\nkind"}
	dressed := &godwit.Group{Join: godwit.JoinOpen, Avatar: "pic\n", Attributes: map[string][]byte{
		"a": []byte("x\x1b"), "b": {0xff}, "c": []byte(strings.Repeat("y", maxValue+1)),
	}}
	bob, both := []string{"bob"}, []string{"bob", "carol"}
	told := make(map[godwit.NoticeType]bool)
	for want, n := range map[string]godwit.Notice{
		`alice made the group "fri` + "\ufffd" + `ends"; in it are bob, carol`: {Type: godwit.NoticeGroupCreated, Users: both, Group: group},
		"alice made the group without a name; in it is bob":                    {Type: godwit.NoticeGroupCreated, Users: bob, Group: &godwit.Group{}},
		"bob was added by alice":                                               {Type: godwit.NoticeMembersAdded, Users: bob},
		"bob, carol were added by alice":                                       {Type: godwit.NoticeMembersAdded, Users: both},
		"bob was let in by alice":                                              {Type: godwit.NoticeMembersJoined, Users: bob},
		"alice joined":                                                         {Type: godwit.NoticeMembersJoined, Users: []string{"alice"}},
		"alice left":                                                           {Type: godwit.NoticeMemberLeft, Users: []string{"alice"}},
		"bob, carol were removed by alice":                                     {Type: godwit.NoticeMembersRemoved, Users: both},
		"alice made bob an admin":                                              {Type: godwit.NoticeRoleChanged, Users: bob, Member: &godwit.Member{Role: godwit.RoleAdmin}},
		"alice made bob, carol admins":                                         {Type: godwit.NoticeRoleChanged, Users: both, Member: &godwit.Member{Role: godwit.RoleAdmin}},
		"alice made bob a member":                                              {Type: godwit.NoticeRoleChanged, Users: bob, Member: &godwit.Member{Role: godwit.RoleMember}},
		"alice made bob the owner":                                             {Type: godwit.NoticeOwnerChanged, Users: bob},
		`alice changed the group: it is "fri` + "\ufffd" + `ends", open to all, only the owner and admins may write, its notice: be↵kind`:    {Type: godwit.NoticeGroupChanged, Group: group},
		"alice changed the group: it is without a name, open to all, its avatar: pic↵, its attributes: a=x\ufffd, b=(1 bytes), c=(65 bytes)": {Type: godwit.NoticeGroupChanged, Group: dressed},
		"bob may not write until 2 January 15:04, by alice":     {Type: godwit.NoticeMembersMuted, Users: bob, Member: &godwit.Member{MutedUntil: until}},
		"bob may write again, by alice":                         {Type: godwit.NoticeMembersMuted, Users: bob, Member: &godwit.Member{}},
		"alice is called A↵l":                                   {Type: godwit.NoticeNickChanged, Member: &godwit.Member{Nick: "A\nl"}},
		"alice has no nick any more":                            {Type: godwit.NoticeNickChanged, Member: &godwit.Member{}},
		"alice dissolved the group":                             {Type: godwit.NoticeGroupDissolved},
		`alice asks to be your contact, saying "hi↵there"`:      {Type: godwit.NoticeContactRequested, Text: "hi\nthere"},
		"alice is your contact now":                             {Type: godwit.NoticeContactAccepted},
		"alice refused to be your contact":                      {Type: godwit.NoticeContactRefused},
		`alice invites you to the group "tea" (g:alice:x)`:      {Type: godwit.NoticeGroupInvited, Conversation: "g:alice:x", Group: &godwit.Group{Name: "tea"}},
		`alice asks to join the group g:bob:x, saying "please"`: {Type: godwit.NoticeJoinRequested, Conversation: "g:bob:x", Text: "please"},
		`alice let you into the group "tea" (g:bob:x)`:          {Type: godwit.NoticeJoinAccepted, Conversation: "g:bob:x", Group: &godwit.Group{Name: "tea"}},
		`alice did not let you into the group "tea" (g:bob:x)`:  {Type: godwit.NoticeJoinRefused, Conversation: "g:bob:x", Group: &godwit.Group{Name: "tea"}},
	} {
		n.Actor = "alice"
		told[n.Type] = true
		if got := noticeText(&n); got != want {
			t.Errorf("%v: %q, want %q", n.Type, got, want)
		}
	}
	for number, name := range pb.NoticeType_name {
		if number != 0 && !told[pb.NoticeType(number)] {
			t.Errorf("no text for %s", name)
		}
	}
}

func TestChangeText(t *testing.T) {
	change := func(typ godwit.ChangeType, body string, remove bool) godwit.MessageChange {
		return godwit.MessageChange{Seq: 7, Type: typ, Event: godwit.Message{Seq: 9, Sender: "bob", Body: []byte(body), Remove: remove}}
	}
	for want, c := range map[string]godwit.MessageChange{
		"bob edited #7: a↵b":                           change(godwit.ChangeEdited, "a\nb", false),
		"bob recalled #7":                              change(godwit.ChangeRecalled, "", false),
		"bob gave #7 👍":                                change(godwit.ChangeReacted, "👍", false),
		"bob took \ufffd back from #7":                 change(godwit.ChangeReacted, "\x1b", true),
		"#7 expired":                                   {Seq: 7, Type: godwit.ChangeExpired},
		"you deleted #7 for yourself":                  {Seq: 7, Type: godwit.ChangeDeleted},
		"you deleted everything up to #7 for yourself": {Seq: 7, Type: godwit.ChangeCleared},
	} {
		if got := changeText(c, nil); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	media := &godwit.Message{Kind: godwit.KindMedia, Media: &godwit.Media{ObjectKey: "k", Name: "x.jpg", ContentType: "image/jpeg", Size: 9}}
	if got, want := changeText(change(godwit.ChangeEdited, "\x0a\x01", false), media), "bob edited #7: [x.jpg, image/jpeg, 9 bytes, at k]"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestConversationText(t *testing.T) {
	last := &godwit.Message{Seq: 7, Sender: "bob", Kind: godwit.KindText, Body: []byte("a\nb")}
	recalled := &godwit.Message{Seq: 7, Sender: "bob", State: godwit.MessageRecalled, RecalledBy: "bob"}
	for want, c := range map[string]godwit.Conversation{
		"bob":                             {Peer: "bob"},
		"bob bob: a↵b":                    {Peer: "bob", Last: last},
		"bob (recalled by bob)":           {Peer: "bob", Last: recalled},
		"bob [unread, archived] bob: a↵b": {Peer: "bob", Last: last, Settings: godwit.Settings{MarkedUnread: true, Archived: true}},
		"bob [pinned, muted] draft: x↵y":  {Peer: "bob", Last: last, Settings: godwit.Settings{Pinned: time.Now(), Muted: true, Draft: "x\ny"}},
		`"tea" (g:a:x) [2 unread, mentions you in #7] bob: a↵b`: {
			ID: "g:a:x", Group: &godwit.Group{Name: "tea"}, Unread: 2, MentionSeq: 7, Last: last,
		},
	} {
		if got := conversationText(c, "alice"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got, want := conversationText(godwit.Conversation{Peer: "alice", Last: last}, "bob"), "alice you: a↵b"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSignalText(t *testing.T) {
	for want, s := range map[string]godwit.Signal{
		"bob is typing":                          {User: "bob", Device: "phone", Type: "typing"},
		"bob signals wave from phone":            {User: "bob", Device: "phone", Type: "wave"},
		"bob signals wave from phone: a↵b":       {User: "bob", Device: "phone", Type: "wave", Body: []byte("a\nb")},
		"bob signals wave from phone: (2 bytes)": {User: "bob", Device: "phone", Type: "wave", Body: []byte{0xff, 0}},
	} {
		if got := signalText(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCallText(t *testing.T) {
	for want, s := range map[string]call.Status{
		"it rings at bob's": {State: call.Ringing},
		"":                  {State: call.Accepting},
		"in a call with bob, on their device phone": {State: call.Active, Device: "phone"},
		"the call with bob has ended: busy":         {State: call.Ended, Reason: call.Busy},
		"the call with bob has ended: EOF":          {State: call.Ended, Reason: call.Refused, Err: io.EOF},
	} {
		if got := callText("bob", true, s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := callText("bob", false, call.Status{State: call.Ringing}); got != "" {
		t.Errorf("of a call that came in: %q", got)
	}
}
