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

// MessageOverhead bounds what a stored message's encoding adds to its body,
// its ids and all, so that a MESSAGE with the largest body still fits a frame
// of max_body + MessageOverhead.
const MessageOverhead = 1 << 10
