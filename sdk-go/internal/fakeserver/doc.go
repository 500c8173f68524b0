// Package fakeserver is a small, complete model of a Godwit server that speaks
// the real protocol over real TCP, for the tests and the examples of the SDK:
// dense seqs, deduplication, SYNC, PULL, receipts, groups, events, contacts,
// settings, signals, takeover, presence, token expiry, retention and epochs. Of
// rights it knows no more than the tests need. On demand it misbehaves in every
// way that a server or a network may: see Faults and the methods of Server. What
// a client must not do, it records: see Server.Violations.
//
// A token is the user's id, unless Config.Authenticate says otherwise.
//
// The idea of a fake that is a server and not a mock is that of franz-go's
// kfake.
package fakeserver
