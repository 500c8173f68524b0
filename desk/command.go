package desk

import (
	"encoding/json"
	"errors"
	"fmt"

	godwit "github.com/godwit-im/godwit/sdk-go"
)

// ContentType is that of the custom messages whose body is a Command.
const ContentType = "application/vnd.godwit.desk+json"

// maxCommand is the longest body of a Command, in bytes.
const maxCommand = 1 << 10

// MaxRating is the best rating; 1 is the worst.
const MaxRating = 5

// Command is what an agent or a visitor has the desk do, as JSON in the body of a
// custom message of the visit.
type Command struct {
	// HandOver is the agent who is to go on; "" = the one with the least load who is
	// online. From the agent.
	HandOver *string `json:"hand_over,omitempty"`
	// Close closes the visit. If the agent does, the visitor can still rate it, or
	// open it again by writing something else; if the visitor does, that is the end.
	Close bool `json:"close,omitempty"`
	// Rating is 1 to MaxRating, once. From the visitor, also together with Close, or
	// after the agent's.
	Rating int `json:"rating,omitempty"`
}

// commandOf reads the command in a message of ContentType.
func commandOf(m *godwit.Message) (c Command, err error) {
	if len(m.Body) > maxCommand {
		return c, fmt.Errorf("a command has at most %d bytes", maxCommand)
	}
	if err := json.Unmarshal(m.Body, &c); err != nil {
		return Command{}, errors.New(`a command is JSON, like {"hand_over":""} or {"close":true}`)
	}
	return c, nil
}
