package protocol

import (
	"strings"

	"github.com/godwit-im/godwit/protocol/pb"
)

// MaxID is the longest user, device, platform or client message id, in bytes.
const MaxID = 64

// MaxConversationID is the longest conversation id, in bytes.
const MaxConversationID = len("d:") + MaxID + len(":") + MaxID

// CheckID returns a BAD_ID error unless id is 1 to MaxID bytes of
// A-Z a-z 0-9 . _ - @ + and begins with a letter or a digit. what names the
// field in the error's text.
func CheckID(what, id string) error {
	if id == "" || len(id) > MaxID {
		return Errorf(pb.Code_CODE_BAD_ID, "%s must be 1 to %d bytes, got %d", what, MaxID, len(id))
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && strings.IndexByte("._-@+", c) >= 0:
		default:
			return Errorf(pb.Code_CODE_BAD_ID, "%s has a bad byte 0x%02x at %d; allowed are A-Z a-z 0-9 and, not first, . _ - @ +", what, c, i)
		}
	}
	return nil
}

// DirectID is the id of the direct conversation of users a and b, the same in
// either order: "d:", the lesser id by bytes, ":", the greater one. ':' is in
// no user id, so two pairs never share an id. It does not check a and b.
func DirectID(a, b string) string {
	if b < a {
		a, b = b, a
	}
	return "d:" + a + ":" + b
}

// ParseDirect returns the two users of a direct conversation's id, the lesser
// first, or a BAD_ID error for anything that DirectID doesn't make of two
// different valid users. The users alias id.
func ParseDirect(id string) (a, b string, err error) {
	rest, ok := strings.CutPrefix(id, "d:")
	if !ok {
		return "", "", Errorf(pb.Code_CODE_BAD_ID, `conversation id must have the form "d:<user>:<user>"`)
	}
	a, b, _ = strings.Cut(rest, ":")
	if err := CheckID("the first user in the conversation id", a); err != nil {
		return "", "", err
	}
	if err := CheckID("the second user in the conversation id", b); err != nil {
		return "", "", err
	}
	if a >= b {
		return "", "", Errorf(pb.Code_CODE_BAD_ID, "the users in a conversation id must be different and in byte order")
	}
	return a, b, nil
}

// Peer returns the other member of a direct conversation, and whether user is
// a member at all. The result aliases conversation.
func Peer(conversation, user string) (peer string, member bool) {
	a, b, err := ParseDirect(conversation)
	switch {
	case err != nil:
		return "", false
	case user == a:
		return b, true
	case user == b:
		return a, true
	}
	return "", false
}

// ConversationKind tells the kinds of conversations apart, by their ids.
type ConversationKind byte

// The kinds of conversations, and how their ids begin.
const (
	Direct ConversationKind = 'd' // d:<lesser user>:<greater user>
	Group  ConversationKind = 'g' // g:<creator>:<client id of its creation>
	System ConversationKind = 's' // s:<user>
)

// KindOf returns the kind of a conversation whose id has passed
// CheckConversation.
func KindOf(conversation string) ConversationKind { return ConversationKind(conversation[0]) }

// GroupID is the id of the group that creator makes with this client id. A user
// never makes two groups with the same one, so ids never meet, and a request
// that is sent again names the same group.
func GroupID(creator, clientID string) string { return "g:" + creator + ":" + clientID }

// SystemID is the id of user's system conversation.
func SystemID(user string) string { return "s:" + user }

// SystemUser returns the user whose system conversation this is, and whether it
// is one. The result aliases conversation.
func SystemUser(conversation string) (user string, ok bool) {
	return strings.CutPrefix(conversation, "s:")
}

// CheckConversation returns a BAD_ID error unless id has the form of a
// conversation's.
func CheckConversation(id string) error {
	switch {
	case strings.HasPrefix(id, "g:"):
		creator, clientID, _ := strings.Cut(id[2:], ":")
		if err := CheckID("the creator in the conversation id", creator); err != nil {
			return err
		}
		return CheckID("the client id in the conversation id", clientID)
	case strings.HasPrefix(id, "s:"):
		return CheckID("the user in the conversation id", id[2:])
	}
	_, _, err := ParseDirect(id)
	return err
}
