// Package fanout measures live delivery: a message that is pushed to thousands
// of sessions on real sockets, encoded once, by Godwit and by bare gnet.
//
// Four processes take part, since one may hold 20,000 descriptors at most: a
// server of each kind and a receiver for each. Godwit's is the real path from a
// committed message on: delivery, session registry, session, connection queue,
// event loop; only nothing is stored. The bare one is the least that has the
// same effect: one task per event loop and message burst, one write per
// connection, no queue, no bound, no order between goroutines. The receivers
// are the same code, and check that every session gets every message once and
// in order. Rounds alternate between the two, so that whatever else the machine
// does meets both.
//
// The processes are this binary again: its main function, and TestMain in
// tests, must call Child first.
package fanout
