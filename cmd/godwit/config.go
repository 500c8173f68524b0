package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or check the configuration",
		Args:  cobra.NoArgs,
	}
	cmd.AddCommand(newConfigPrint(), newConfigCheck())
	return cmd
}

func newConfigPrint() *cobra.Command {
	s := newSettings()
	var markdown bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print every setting, its value and where it comes from",
		Long: `Print every setting that 'godwit serve' would use with the same flags,
environment and file, and where each comes from. The output is a valid file;
secrets are left out of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown {
				return newSettings().writeMarkdown(cmd.OutOrStdout())
			}
			if err := s.load(cmd); err != nil {
				return err
			}
			return s.knobs.Print(cmd.OutOrStdout())
		},
	}
	s.flags(cmd.Flags())
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the defaults as the tables of docs/CONFIG.md")
	return cmd
}

func newConfigCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file and name what is wrong in it",
		Long: `Check a configuration file: every key that does not exist, with the nearest one
that does, and every value that cannot be used, each with its line and column.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			// The file alone: what the environment of this shell says is
			// nothing to do with it.
			if err := newSettings().read(args[0], nil, cmd.ErrOrStderr()); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is fine\n", args[0])
			return err
		},
	}
}
