// Package ceiling measures what this machine could do at best: the least work
// that has the same shape as Godwit's, so that a report can give Godwit as a
// ratio of it, measured in the same run.
//
//   - Echo: gnet sends frames of the size of a SEND back.
//   - Relay: gnet acks a frame to the one side of a pair and pushes it to the
//     other, as Godwit does, but keeps nothing and understands nothing. Where
//     it is told to store, Pebble syncs the messages before: what a server
//     that stores can reach at best where both share the processors.
//   - Commit: Pebble, with the options of msgstore, takes batches of messages
//     and syncs each.
//   - Scan and ScanSend: Pebble reads the newest messages of conversations at
//     random, and gnet sends them.
//   - Sync: a file is appended to and synced.
//
// The bare fan-out is in bench/fanout.
//
// The gnet servers run in a process of their own, as Godwit does, with the
// options of netpoll, and the load is a fleet in this process. They are this
// binary again: its main function, and TestMain in tests, must call Child
// first.
//
// A load checks what it gets: every frame once, in order, of the right size. A
// ceiling that loses a frame is an error.
package ceiling
