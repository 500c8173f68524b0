// Package call sets calls up between two users: who rings, who answers on which
// device, and when it is over. It is the state machine of docs/CALLS.md, which is
// also its specification, on top of a client's signals.
//
// Sound and pictures are not its affair. What an application's media needs to say
// before it flows, in WebRTC an offer, an answer and candidates, goes through a
// Call as bytes that are not looked into.
//
// # Use
//
//  1. Make a [Calls] with [New] and hand it the client's signals:
//     Handler.OnSignal is, or calls, [Calls.Handle].
//  2. Give it the client with [Calls.Attach]. Invitations are repeated, so one
//     that comes before that is not lost.
//  3. [Calls.Place] calls a user. Handler.OnCall tells of a call that comes in:
//     say [Call.Ring] when the device rings, or [Call.Busy], and then
//     [Call.Accept] or [Call.Reject] as the user wishes.
//  4. Handler.OnState tells how a call fares, up to [Ended], which each call
//     reaches whatever is lost on the way.
//  5. [Calls.Close], then Client.Close.
//
// # What is lost, and what is made good
//
// A signal is sent once and may be lost. What must arrive is repeated until it
// has: the invitation until somebody answers, the acceptance until the caller has
// confirmed it, and in a call that is going on a sign of life. The others are not,
// but what they said is said again to a device that goes on as if it had not heard
// it: a device that rings for a call that is over is told so. Payloads are sent
// again where the server did not take them, and handed over once and in order, but
// those that it took and the other device missed are gone; so be ready to negotiate
// anew, as WebRTC is with an ICE restart.
//
// # Goroutines
//
// All state is guarded by one mutex in Calls, which is not held while a callback
// runs. The callbacks run on one goroutine, one at a time and in order. There is
// another for each signal without an answer, and none after Close.
package call
