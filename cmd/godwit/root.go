package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError marks what is wrong with how the program was called or
// configured, as opposed to what went wrong when it did as it was told.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errSaid ends the program with exit code 1 when the reason was printed already.
var errSaid = errors.New("the reason was printed")

// run executes one command line, args[0] being the program's name, and returns
// the exit code.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "godwit",
		Short: "An instant-messaging server: durable, ordered, over raw TCP",
		Long: `Godwit is an instant-messaging server: durable, ordered, over raw TCP.

Try it, each line in a terminal of its own:

  godwit serve --dev
  godwit chat --user alice --to bob
  godwit chat --user bob --to alice`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	// Whatever cobra refuses, it refuses before this runs.
	started := false
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetArgs(args[1:])
	root.AddCommand(
		newServe(args[0]), newToken(), newSend(), newTail(), newChat(),
		newDesk(), newDemo(args[0]), newBackup(), newBench(args[0]), newConfig(), newVersion(),
	)

	cmd, err := root.ExecuteC()
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSaid):
		return exitFailed
	case !started || errors.As(err, &usage):
		say(stderr, "%v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	say(stderr, "godwit: %v\n", err)
	return exitFailed
}
