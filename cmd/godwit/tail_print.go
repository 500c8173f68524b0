package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/godwit-im/godwit/sdk-go"
)

// record is a message, a notice or what happened to a message, in JSON. 64-bit
// ids are strings, since many readers of JSON keep 53 bits of a number.
type record struct {
	Conversation string `json:"conversation"`
	// Seq and what follows it are those of the event, where something happened to
	// the message at Target. They are missing where no event says so: the message
	// expired, or the user deleted it.
	Seq         uint64     `json:"seq,omitempty"`
	ID          string     `json:"id,omitempty"`
	Sender      string     `json:"sender,omitempty"`
	ClientID    string     `json:"client_id,omitempty"`
	Time        *time.Time `json:"time,omitempty"`
	ContentType string     `json:"content_type,omitempty"`
	Text        *string    `json:"text,omitempty"`
	Body        []byte     `json:"body,omitempty"`

	Reply    uint64   `json:"reply,omitempty"`
	Mentions []string `json:"mentions,omitempty"` // "@all" for everybody
	Notice   string   `json:"notice,omitempty"`   // its type
	Actor    string   `json:"actor,omitempty"`
	Users    []string `json:"users,omitempty"`
	State    string   `json:"state,omitempty"` // of a tombstone
	Edited   bool     `json:"edited,omitempty"`

	Change string `json:"change,omitempty"` // what happened to the message at Target
	Target uint64 `json:"target,omitempty"`
	Key    string `json:"key,omitempty"` // of a reaction
	Remove bool   `json:"remove,omitempty"`
}

func recordOf(m godwit.Message) record {
	r := record{
		Conversation: m.Conversation, Seq: m.Seq, ID: strconv.FormatUint(m.ID, 10),
		Sender: m.Sender, ClientID: m.ClientID, Time: new(m.Time.UTC()), ContentType: m.ContentType,
		Reply: m.Reply, Mentions: m.Mentions, Edited: !m.Edited.IsZero(),
	}
	if m.MentionAll {
		r.Mentions = append(r.Mentions[:len(r.Mentions):len(r.Mentions)], "@all")
	}
	if m.State != godwit.MessageNormal {
		r.State = enumName(m.State.String(), "MESSAGE_STATE_")
		return r
	}
	switch {
	case m.Kind == godwit.KindText:
		r.Text = new(m.Text())
	case m.Kind == godwit.KindNotice && m.Notice != nil:
		r.Notice, r.Actor, r.Users = enumName(m.Notice.Type.String(), "NOTICE_TYPE_"), m.Notice.Actor, m.Notice.Users
	default:
		r.Body = m.Body
	}
	return r
}

func changeRecord(c godwit.MessageChange) record {
	r := record{Conversation: c.Conversation}
	if c.Event.Seq > 0 {
		r = recordOf(c.Event)
	}
	r.Change, r.Target = c.Type.String(), c.Seq
	switch {
	case c.Type == godwit.ChangeReacted:
		r.Key, r.Remove, r.Body = string(c.Event.Body), c.Event.Remove, nil
	case c.Type == godwit.ChangeEdited && utf8.Valid(c.Event.Body):
		// An edit does not say what kind of message it edits.
		r.Text, r.Body = new(c.Event.Text()), nil
	}
	return r
}

// enumName is the name of a protocol's constant in lower case, without what all
// of them begin with.
func enumName(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func (t *tail) print(m godwit.Message) error {
	if t.json {
		return json.NewEncoder(t.out).Encode(recordOf(m))
	}
	who := m.Sender + ":"
	if m.Kind == godwit.KindNotice {
		who = "--"
	}
	_, err := fmt.Fprintf(t.out, "%s %s #%d %s %s\n", m.Time.Format("15:04:05"), m.Conversation, m.Seq, who, oneLine(m))
	return err
}

func (t *tail) printChange(c godwit.MessageChange) error {
	if t.json {
		return json.NewEncoder(t.out).Encode(changeRecord(c))
	}
	when, place := time.Now(), ""
	if c.Event.Seq > 0 {
		when, place = c.Event.Time, fmt.Sprintf("#%d ", c.Event.Seq)
	}
	_, err := fmt.Fprintf(t.out, "%s %s %s-- %s\n", when.Format("15:04:05"), c.Conversation, place, changeText(c, nil))
	return err
}
