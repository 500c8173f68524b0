// Package protocol is the wire contract between a Godwit server and its
// clients: the frame header, the table of frame types, the ids, the error
// codes and the limits. The bodies are the protobuf messages of im.proto
// (package pb). docs/PROTOCOL.md says the same for a reader who writes a
// client in another language, and testdata/ holds golden vectors for it.
//
// A frame is a header of 8 bytes, big-endian, and a body:
//
//	 0        3      4             8
//	+--------+------+-------------+----------------+
//	| length | type | request id  | body           |
//	| u24    | u8   | u32         | length bytes   |
//	+--------+------+-------------+----------------+
//
// A client numbers its requests with any non-zero request id that it is not
// using at the moment; the one answer, a response or an ERROR, carries the
// same id. Request id 0 marks what nobody asked for: a push of the server, an
// ERROR about the connection as a whole, or a client frame that has no answer.
//
// The package does no I/O but for Reader and Writer, which blocking clients
// use, and imports nothing of Godwit's but pb.
package protocol
