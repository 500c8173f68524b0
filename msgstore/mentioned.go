package msgstore

// Mentioned reports whether PutMentions noted, and the Tx leaves it so, that the
// message at seq mentions user; "" stands for everybody.
func (tx *Tx) Mentioned(conversation string, seq uint64, user string) (bool, error) {
	value, err := tx.row(appendMentionKey(nil, tx.s.PartitionOf(conversation), conversation, user, seq))
	return value != nil, err
}
