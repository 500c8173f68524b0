// Package godwit is the Go client of a Godwit server: it sends messages and
// receives those of the user's conversations, over one TCP connection that it
// keeps up by itself.
//
// # Use
//
//  1. Get a token source: a function that returns a signed token for the user,
//     usually by asking the application's own backend. The client calls it for
//     every connection and before the token in use expires.
//
//  2. Choose a [Store]. [NewMemoryStore] forgets with the process;
//     [OpenFileStore] keeps the outbox and the positions in a file. A store
//     belongs to one user, and to one client at a time.
//
//  3. Fill in a [Handler] with the callbacks of interest. They run one at a
//     time on one goroutine. They may call the client, but for Close.
//
//  4. Call [Dial]. It returns when the server has accepted the client; from
//     then on the client reconnects by itself until Close, or until an error
//     that is final, which [Client.Done] and Handler.OnState report.
//
//  5. Call [Client.Send] or [Client.SendText]. They return once the message is
//     in the store, connected or not. The [Outgoing] that they return tells
//     how far it has come, and waits for it if asked to.
//
//  6. Call [Client.MarkRead] when the user has seen something. That a message
//     has reached the device is reported without being asked.
//
//  7. Show [Client.Conversations], [Client.Members], [Client.Contacts] and
//     [Client.Presence]: the local model, which asks nobody, but for the members
//     of a group that are first looked at.
//
//  8. Call [Client.History] and what has Fetch in its name for what neither is
//     handed to the Handler nor in the model. These ask the server and wait.
//     Everything else that asks for something, of groups, contacts, settings,
//     presence, signals and devices, returns a [Call] to wait for or not.
//
//  9. Call [Client.Close], then close the store.
//
// Package archive, beside this one, keeps and searches messages, and package call
// makes calls of signals.
//
// # What is guaranteed
//
// Sending. A message that Send accepted is sent until the server has either
// stored it or refused it for good, across disconnects and, with a FileStore,
// restarts. It is stored once, however often it had to be sent, because it
// keeps its client message id. The messages that one client sends to a
// conversation are stored in the order of their Sends, also when the server
// refused one of them for a while: what was behind it waits. (Options.Pipeline
// gives up the last part, for speed on long links.)
//
// Receiving. Each message of each conversation is handed to OnMessage once, in
// seq order within the conversation, without holes; the user's own messages
// too. Pushes that were lost, repeated or reordered are made good by SYNC and
// PULL. There are three exceptions, and the application is told of two:
// OnGap names messages that the server's retention removed before they could
// be fetched; OnReset begins a conversation anew, after the server was restored
// to a state in which it went another way; and after a crash of the process,
// though not after Close, up to 256 messages that were handed last may be
// handed again, because positions are saved together. An application that must
// not act twice remembers the last seq that it acted upon.
//
// Changes. An edit, a recall or a reaction is a message of the log with a seq of
// its own, so the same holds for it, but it is handed to OnMessageChanged. An
// application that keeps messages has them right with [Message.Apply], whether it
// was there or away.
//
// The local model. After the first SYNC of a process, and with a FileStore before
// it, it is what the server last said, with what was pushed since; once a device is
// Online it is what the server has. What is returned from it shares nothing with
// the client. Three things are known late or not at all: a message that is not
// pushed (Unpushed) is in it after the next SYNC, what becomes of messages of a
// group that the user has left is not told, and where more than ten users have a
// reaction Reaction.Users may lack one.
//
// Receipts. The cursors of OnReceipt, and [Outgoing.Status], never go back.
//
// Order of callbacks. They come in the order in which things happened:
// [Online] after the last message that was missed, for one.
//
// # Limits
//
// The outbox holds Options.OutboxLimit messages. What has arrived and was not
// handed yet is bounded by 2,048 messages and 4 MiB over all conversations,
// plus a few pulled pages; a slow handler makes the client pull again later,
// and delays neither acks nor heartbeats. Requests in flight stay within the
// window that the server allows. A client costs four goroutines, none after
// Close, and there is no state outside of it, so a process may run many.
//
// # Errors
//
// An error of the server is, or wraps, a *protocol.Error; [CodeOf] tells its
// code. [SendError] is final for one message, [ErrOutboxFull] passes,
// [ErrClosed] wraps the reason for which a client ended by itself.
package godwit
