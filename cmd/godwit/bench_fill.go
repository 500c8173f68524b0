package main

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/godwit-im/godwit/bench/fill"
)

// planFlags are those of a fill.Plan.
func planFlags(flags *pflag.FlagSet, p *fill.Plan, users, old int) {
	flags.IntVar(&p.Users, "users", users, "users in the store")
	flags.IntVar(&p.Conversations, "conversations", 100, "direct conversations of each user")
	flags.IntVar(&p.Old, "old", old, "old messages in each conversation")
	flags.IntVar(&p.Away, "away", users/5, "users who miss messages")
	flags.IntVar(&p.Behind, "behind", 5, "conversations in which each of them does")
	flags.IntVar(&p.Missed, "missed", 200, "messages that are missed in each of these")
	flags.IntVar(&p.Size, "size", 256, "body in bytes")
}

func newBenchFill() *cobra.Command {
	var (
		data   string
		plan   fill.Plan
		missed bool
	)
	cmd := &cobra.Command{
		Use:   "fill",
		Short: "Write a store full of messages, offline",
		Long: `Write conversations into the store of a data directory on which no server runs, as
a server would have written them. What is written follows from the flags alone;
what is there already stays.`,
		Example: `  godwit bench fill --data ./full --users 10000 --conversations 50 --old 20`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := fill.Config{Dir: storeDir(data), Progress: cmd.ErrOrStderr()}
			r, err := fill.Old(cmd.Context(), cfg, plan)
			if err != nil {
				return err
			}
			say(cmd.OutOrStdout(), "%d old messages in %v\n", r.Messages, r.Took.Round(time.Millisecond))
			if !missed {
				return nil
			}
			if r, err = fill.Missed(cmd.Context(), cfg, plan); err != nil {
				return err
			}
			say(cmd.OutOrStdout(), "%d missed messages in %v\n", r.Messages, r.Took.Round(time.Millisecond))
			return nil
		},
	}
	cmd.Flags().StringVar(&data, "data", defaultData, "data `directory`")
	cmd.Flags().BoolVar(&missed, "with-missed", true, "write the messages that are missed, too")
	planFlags(cmd.Flags(), &plan, 1000, 20)
	return cmd
}
