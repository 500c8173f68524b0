// Package msgstore keeps what Godwit must not lose: the log of every
// conversation, its members and their cursors, and what belongs to messages and
// groups beside them, on Pebble. docs/STORAGE.md
// describes the keys, the values and the promises for a reader without Go.
//
// # Writing
//
// A store is divided into partitions, and a conversation belongs to one of
// them for good (PartitionOf). Every partition has one writer: a goroutine
// that begins a Tx, applies commands to it and commits. A Tx may span the
// partitions of its writer; two Txs in progress must not share one. Every
// change is given the partition's log index, which becomes the changed
// record's stamp, and a commit moves the partition's applied index to the
// highest of them in the same Pebble batch.
//
// # Reading
//
// The methods of Store may be called from any goroutine at any time and
// return only what is durable. Pebble makes a batch visible before its sync
// has ended, so visible and durable are not the same; the stamps, and what the
// commits in progress have noted of what they overwrite, are how a reader tells
// them apart. With Durability Interval, durable means committed:
// see there.
//
// Who reads much for one request does it with a View: one iterator for all.
//
// None of the methods belongs on an event loop: all of them may wait for the
// disk, but for NextID, PartitionOf, Partitions, Epoch, Applied,
// ChangedSince and Full.
package msgstore
