package journal

import (
	"slices"
	"strings"
)

// state is what a message is after some of its events.
type state struct {
	version   uint64 // the seq of the newest of them
	gone      bool
	body      string
	mentions  string
	reactions []string // each by one user, as of pairs; sorted
	// blind: the body is outdated by an edit of which it is not known what it says,
	// because a later one outdates that.
	blind bool
}

// pairs takes Entry.Reactions apart.
func pairs(reactions string) (all []string) {
	for each := range strings.SplitSeq(reactions, ";") {
		key, users, _ := strings.Cut(each, "=")
		for _, user := range strings.Fields(users) {
			all = append(all, key+" of "+user)
		}
	}
	slices.Sort(all)
	return all
}

// apply makes s what the event e, a later one than those in s, makes of it.
// It replaces what s refers to.
func (s *state) apply(e Entry) {
	if e.Seq <= s.version {
		return
	}
	if e.Kind == KindEdit && e.Gone {
		s.blind = true
		return
	}
	s.version = e.Seq
	if s.gone {
		return
	}
	reaction := e.Body + " of " + e.Sender
	at, has := slices.BinarySearch(s.reactions, reaction)
	switch e.Kind {
	case KindEdit:
		s.body, s.mentions, s.blind = e.Body, e.Mentions, false
	case KindRecall:
		*s = state{version: e.Seq, gone: true}
	case KindReact:
		if !has {
			s.reactions = slices.Insert(slices.Clone(s.reactions), at, reaction)
		}
	case KindUnreact:
		if has {
			s.reactions = slices.Delete(slices.Clone(s.reactions), at, at+1)
		}
	}
}

func (s *state) equals(other *state) bool {
	return s.gone == other.gone && s.version == other.version &&
		(s.gone || s.body == other.body && s.mentions == other.mentions && slices.Equal(s.reactions, other.reactions))
}

// replay makes the states of all messages: as they were sent, and after each of
// their events.
func (conv *conversation) replay(seqs []uint64) {
	conv.states = map[uint64][]state{}
	for _, seq := range seqs {
		r := conv.records[seq]
		sent, found := conv.sent[r.name]
		body := sent.Body
		if !found {
			body = r.body // a phantom
		}
		switch before := conv.states[r.target]; {
		case r.kind == "":
			conv.states[seq] = []state{{body: body, mentions: sent.Mentions}}
		case r.kind.isEvent() && len(before) > 0:
			next := before[len(before)-1]
			next.apply(Entry{Seq: seq, Kind: r.kind, Body: body, Mentions: sent.Mentions, Sender: r.sender})
			conv.states[r.target] = append(before, next)
		}
	}
}
