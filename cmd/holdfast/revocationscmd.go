package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// largestPage is what the server gives at most at once.
const largestPage = 1000

func newRevocationsCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:   "revocations",
		Short: "look at revocations, and revoke many: list, get, import, export",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return &exitError{exitUsage, errors.New("say what to do: list, get, import or export\nsee: holdfast revocations --help")}
		},
	}
	c.addTo(cmd)
	cmd.AddCommand(newListCommand(&c), newGetCommand(&c), newImportCommand(&c), newExportCommand(&c))
	return cmd
}

// listed is a page of revocations; the items stay as they came.
type listed struct {
	Items []json.RawMessage `json:"items"`
	Next  string            `json:"next,omitempty"`
}

// list reads pages until there are no more, or limit is reached; 0 is no limit.
func (c *client) list(cmd *cobra.Command, query url.Values, limit int) (*listed, error) {
	all := &listed{Items: []json.RawMessage{}}
	for {
		size := largestPage
		if limit > 0 {
			size = min(size, limit-len(all.Items))
		}
		query.Set("limit", strconv.Itoa(size))
		got, err := c.do(cmd.Context(), &call{method: http.MethodGet, path: "/v1/revocations", query: query})
		if err != nil {
			return nil, err
		}
		var page listed
		if err := got.into(&page); err != nil {
			return nil, err
		}
		all.Items = append(all.Items, page.Items...)
		all.Next = page.Next
		if page.Next == "" || page.Next == query.Get("cursor") || limit > 0 && len(all.Items) >= limit {
			return all, nil
		}
		query.Set("cursor", page.Next)
	}
}

// whole is the list as one answer of the server.
func (l *listed) whole() (*answer, error) {
	body, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("read the server's answer: %w", err)
	}
	return &answer{status: http.StatusOK, body: body}, nil
}

func newListCommand(c *client) *cobra.Command {
	var kind, value, issuer, cursor string
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "list the revocations in force, oldest first",
		Example: `  holdfast revocations list
  holdfast revocations list --kind session --issuer https://idp.example -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, text := range map[string]string{"kind": kind, "value": value, "issuer": issuer, "cursor": cursor} {
				if text != "" {
					query.Set(name, text)
				}
			}
			if limit < 0 {
				return &exitError{exitUsage, fmt.Errorf("--limit %d is below 0", limit)}
			}
			all, err := c.list(cmd, query, limit)
			if err != nil {
				return err
			}
			got, err := all.whole()
			if err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), got, all.table); err != nil {
				return err
			}
			if all.Next != "" && c.output == "table" {
				_, err = fmt.Fprintf(cmd.ErrOrStderr(), "there are more: --limit 0 shows all, --cursor %s goes on\n", printable(all.Next))
			}
			return err
		},
	}
	cmd.Flags().StringVar(&kind, "kind", "", "only of this kind")
	cmd.Flags().StringVar(&value, "value", "", "only of this value")
	cmd.Flags().StringVar(&issuer, "issuer", "", "only inside this issuer")
	cmd.Flags().IntVar(&limit, "limit", 100, "at most so many; 0 = all")
	cmd.Flags().StringVar(&cursor, "cursor", "", "go on where a list ended")
	return cmd
}

func (l *listed) table(w io.Writer) error {
	_, _ = fmt.Fprintln(w, "ID\tKIND\tVALUE\tISSUER\tNOT BEFORE\tEXPIRES\tENFORCED\tREASON")
	for _, raw := range l.Items {
		var r revocation
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("read the server's answer: %w", err)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", dash(r.ID), dash(r.Kind), dash(r.Value), dash(r.Issuer),
			r.NotBefore.Format(time.RFC3339), r.Expires.Format(time.RFC3339), r.Enforced.Count, dash(r.Reason))
	}
	return nil
}

func newGetCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use:     "get ID",
		Short:   "show one revocation, what it has denied, and how it ended",
		Example: "  holdfast revocations get r12-0",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !plainID(args[0]) {
				return &exitError{exitUsage, fmt.Errorf("%q is not the id of a revocation, such as r12-0", printable(args[0]))}
			}
			got, err := c.do(cmd.Context(), &call{method: http.MethodGet, path: "/v1/revocations/" + args[0]})
			if err != nil {
				return err
			}
			var r revocation
			if err := got.into(&r); err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), got, r.table)
		},
	}
}

func (r *revocation) table(w io.Writer) error {
	state := "in force until " + r.Expires.Format(time.RFC3339)
	switch {
	case r.Lifted != nil:
		state = "lifted " + r.Lifted.Format(time.RFC3339)
	case r.Expired:
		state = "expired " + r.Expires.Format(time.RFC3339)
	}
	took := "nothing denied yet"
	if r.Enforced.Count > 0 && r.Enforced.First != nil && r.Enforced.Last != nil {
		took = fmt.Sprintf("%d denied, first %s, last %s", r.Enforced.Count,
			r.Enforced.First.Format(time.RFC3339), r.Enforced.Last.Format(time.RFC3339))
	}
	for _, line := range [][2]string{
		{"id", r.ID}, {"kind", r.Kind}, {"value", r.Value}, {"issuer", r.Issuer}, {"state", state},
		{"not before", r.NotBefore.Format(time.RFC3339)}, {"reason", r.Reason},
		{"created", r.Created.Format(time.RFC3339) + " by " + r.Actor}, {"enforced", took},
	} {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", line[0], dash(line[1]))
	}
	return nil
}

func newExportCommand(c *client) *cobra.Command {
	return &cobra.Command{
		Use:     "export",
		Short:   "write all revocations in force as one JSON document (or YAML with -o yaml)",
		Example: "  holdfast revocations export > revocations.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.output == "table" {
				c.output = "json"
			}
			all, err := c.list(cmd, url.Values{}, 0)
			if err != nil {
				return err
			}
			got, err := all.whole()
			if err != nil {
				return err
			}
			return c.print(cmd.OutOrStdout(), got, all.table)
		},
	}
}
