// Package fill writes a store as years of use would have left it, offline and
// as fast as the store takes it: what a scenario needs that begins with
// millions of messages.
//
// Messages are applied as a server applies them, by chat.Apply, onto large
// transactions that nobody waits for, and in an order in which they may have
// come: conversations take turns, so that a conversation's messages lie as far
// apart in the log as they do in a server's. What is written follows from a
// Plan alone, so that a checker knows what everybody must get.
package fill
