// Package chat holds the rules of a conversation and the log that carries them
// out.
//
// A Command is a wish that has been checked for form: send this message, move
// these cursors, remove what is too old. Apply decides it against the store and
// makes the change. Apply is a function of the transaction and the command and
// of nothing else, so the same commands in the same order leave the same store
// behind, whoever applies them and however they are batched:
//
//	                 Submit                 one writer per partition
//	gateway ──Proposal──► Log ──commands in order──► Apply ──► Tx ──► Commit
//	   ▲                                               │                │
//	   └────────────── answers, pushes ◄── Sink ◄──Outcomes, after it ◄─┘
//
// Embedded is the Log of a single node: the synced Pebble batch is the log. A
// replicated Log orders the commands elsewhere and applies them with the same
// Apply.
//
// What a command wants said in another conversation, it can't say itself: that
// one may be in another partition. It leaves a follow-up in its own partition, in
// the same transaction, and the log submits the notice later as a command of its
// own (see relay.go).
//
// What a caller may rely on:
//
//  1. Submit never blocks and touches no disk, so an event loop may call it.
//  2. A Proposal that Submit accepted has exactly one Outcome, unless the log
//     fails or the process ends first. One that it refused has none.
//  3. The Sink sees an Outcome only after the batch that holds it is committed
//     (and, with msgstore's default durability, synced).
//  4. Proposals for one conversation are applied in the order in which they
//     were submitted. Between conversations there is no order.
//  5. A refusal is a Result with a coded error. An error that Apply or a commit
//     returns means that the store can't be trusted any more; it is handed to
//     Config.Fatal and nothing is acknowledged after it.
package chat
