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
const MessageOverhead = 1 << 10
