package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/godwit-im/godwit/server"
)

func newBackup() *cobra.Command {
	var data, admin string
	cmd := &cobra.Command{
		Use:   "backup DIR",
		Short: "Write a consistent copy of a running server's store",
		Long: `Write a consistent copy of a running server's store while it goes on serving.

DIR must not exist; the server, on its machine, makes it. To start a server from
the copy: godwit serve --data DIR. Clients notice that it is a copy and check
what they know against it.`,
		Example: "  godwit backup /var/backups/godwit-2026-01-31",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			running, _, err := lookUp(firstOf(data, os.Getenv(envPrefix+"DATA"), defaultData))
			if err != nil {
				return err
			}
			addr := firstOf(admin, os.Getenv(envPrefix+"ADMIN"), running.Admin, server.DefaultAdminAddr)
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			target := url.URL{Scheme: "http", Host: addr, Path: "/backup", RawQuery: url.Values{"dir": {storeDir(dir)}}.Encode()}
			start := time.Now()
			// No time limit: a large store takes what it takes, and Ctrl-C works.
			req, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, target.String(), http.NoBody)
			if err != nil {
				return err
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return fmt.Errorf("the admin listener at %s does not answer: %w", addr, err)
			}
			defer resp.Body.Close()
			var answer struct {
				Error string `json:"error"`
			}
			if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
				return fmt.Errorf("the admin listener at %s answered %s and no JSON: %w", addr, resp.Status, err)
			}
			if resp.StatusCode != http.StatusOK {
				return fmt.Errorf("the server refused: %s", answer.Error)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s written in %v\nStart a server from it: godwit serve --data %s\n", dir, time.Since(start).Round(time.Millisecond), quote(args[0]))
			return err
		},
	}
	cmd.Flags().StringVar(&data, "data", "", "data `directory` of the server, to find its admin address (default: "+envPrefix+"DATA, else "+defaultData+")")
	cmd.Flags().StringVar(&admin, "admin", "", "`address` of the server's admin listener (default: "+envPrefix+"ADMIN, else that of the server on --data, else "+server.DefaultAdminAddr+")")
	return cmd
}
