package protocol

// PreAuthMaxFrame bounds the body of a frame before CONNECTED, in bytes. It is
// fixed, not configured: a client must know it before it can be told.
const PreAuthMaxFrame = 8 << 10

// MaxToken is the longest token, in bytes; it fits PreAuthMaxFrame with room
// for the rest of CONNECT.
const MaxToken = 4 << 10

// MaxContentType is the longest content type, in bytes.
const MaxContentType = 128

// MaxClientName is the longest Connect.client, in bytes.
const MaxClientName = 64

// MaxWho is the largest number of users in one WHO.
const MaxWho = 100

// MaxErrorText is the longest text of an ERROR, in bytes: it may quote the
// peer, which must not decide how long it gets.
const MaxErrorText = 512

// MessageOverhead bounds what a stored message's encoding adds to its body,
// its ids and all, in bytes. A MESSAGE with the largest body, and a PULLED with
// nothing but that message, fit a frame body of max_body + MessageOverhead.
// The parts of it are a KiB for ids and numbers, the mentions and the
// reactions, or the body of a notice, which the server writes.
const MessageOverhead = 32 << 10

// What a message may carry besides its body. A server may allow less.
const (
	MaxMentions      = 100 // users
	MaxReactions     = 20  // different ones of a message
	MaxReaction      = 32  // bytes of one
	MaxReactionUsers = 10  // in Reaction.users
)

// MaxUsers is the largest number of users in a request about a group.
const MaxUsers = 200

// The limits of a group's own data, in bytes, and of its admins.
const (
	MaxGroupName       = 256
	MaxGroupAvatar     = 1 << 10
	MaxGroupNotice     = 4 << 10
	MaxAttributes      = 32      // in number
	MaxAttributeKey    = 64      // an id
	MaxAttributesBytes = 8 << 10 // keys and values of all together
	MaxAdmins          = 50
)

// Other limits of requests, in bytes unless it says otherwise.
const (
	MaxNick      = 64
	MaxText      = 256 // of a request to join or to be a contact, and of a remark
	MaxDraft     = 4 << 10
	MaxObjectKey = 1 << 10
	MaxThumbnail = 16 << 10
	MaxSignal    = 8 << 10
	MaxDelete    = 200 // seqs
	MaxSubscribe = 500 // users in one SUBSCRIBE
)
