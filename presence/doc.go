// Package presence is what lasts as long as sessions do: who is online, who is
// told of it, and signals. None of it is stored but when a user was seen last.
//
//	session.Manager ──Changed──► when due ──► step ──PRESENCE──► the watching sessions
//	                                           └────OpSeen─────► the command log
//	gateway ──SUBSCRIBE, WHO, SIGNAL──► delivery's workers ──► Subscribe, Who, Signal
//
// A user who comes is told of at once, one who goes after Config.Delay, and only if
// they are not back by then. So a connection that breaks and is made again, as
// those of telephones are, is no news. A user's changes are told at most once in
// Config.Interval: what happens meanwhile is told together.
//
// Nothing here goes by the events themselves. Changed only says whose sessions to
// look at, and step tells each watcher the difference between how the user stands
// and what that watcher was told last. So calls that overtake each other, a
// watcher that was too slow to be told, and an end and a beginning at the same
// moment all come out right.
//
// Who may see whom is read from the store each time that there is something to
// tell, on the package's own goroutine or on a worker, never on an event loop. A
// changed privacy therefore holds from the next news on, and there is no cache to
// be wrong. A user is a few point reads; the push that follows costs as much.
//
// Costs: a user costs memory while somebody watches them or when they have just
// gone; a subscription is one small object in two lists. When many sessions end
// at once the work is in proportion to them and to the subscriptions that they
// had or that are to them, in pieces between which the lock is free.
package presence
