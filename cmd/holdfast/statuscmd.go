package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// watchPause is the time between two looks of status --watch.
const watchPause = 2 * time.Second

func newStatusCommand() *cobra.Command {
	var c client
	var watch bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "show whether a Holdfast is ready, its feed, keys and revocations",
		Long:    "Shows the state of one replica. Exit codes: 0 ready, 1 degraded or no answer.",
		Example: "  holdfast status\n  holdfast status --watch",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for {
				err := showStatus(cmd, &c)
				if !watch {
					return err
				}
				if err != nil && cmd.Context().Err() == nil {
					_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "holdfast: "+err.Error())
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(watchPause):
				}
			}
		},
	}
	c.addTo(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "look again every two seconds until interrupted")
	return cmd
}

// feedState is GET /v1/feed.
type feedState struct {
	State     string `json:"state"`
	Sequence  uint64 `json:"sequence"`
	Age       string `json:"age"`
	MaxAge    string `json:"max_age"`
	Broken    string `json:"broken"`
	Epoch     string `json:"epoch"`
	Connected bool   `json:"connected"`
	Last      uint64 `json:"last"`
	Bytes     uint64 `json:"bytes"`
	Breaks    uint64 `json:"breaks"`
	Replicas  []struct {
		Name     string `json:"name"`
		Version  string `json:"version"`
		Self     bool   `json:"self"`
		Ready    bool   `json:"ready"`
		Sequence uint64 `json:"sequence"`
		Lag      uint64 `json:"lag"`
		Heard    string `json:"heard"`
	} `json:"replicas"`
}

// serverState is GET /v1/status.
type serverState struct {
	Ready       bool             `json:"ready"`
	Version     string           `json:"version"`
	Uptime      string           `json:"uptime"`
	Feed        feedState        `json:"feed"`
	Revocations map[string]int64 `json:"revocations"`
	Checks      []struct {
		Name   string `json:"name"`
		OK     bool   `json:"ok"`
		Detail string `json:"detail"`
	} `json:"checks"`
}

func showStatus(cmd *cobra.Command, c *client) error {
	got, err := c.do(cmd.Context(), &call{method: http.MethodGet, path: "/v1/status"})
	if err != nil {
		return err
	}
	var s serverState
	if err := got.into(&s); err != nil {
		return err
	}
	if err := c.print(cmd.OutOrStdout(), got, s.table); err != nil {
		return err
	}
	return degraded(s.Ready)
}

// degraded ends a verb with 1 after it has printed why.
func degraded(ok bool) error {
	if ok {
		return nil
	}
	return &exitError{code: 1}
}

func (s *serverState) table(w io.Writer) error {
	state := "ready"
	if !s.Ready {
		state = "NOT READY"
	}
	_, _ = fmt.Fprintf(w, "holdfast %s\t%s\tup %s\n", dash(s.Version), state, dash(s.Uptime))
	for _, check := range s.Checks {
		word := "ok"
		if !check.OK {
			word = "failed"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", dash(check.Name), word, printable(check.Detail))
	}
	_, _ = fmt.Fprintf(w, "feed\t%s\trecord %d, age %s of %s\n", dash(s.Feed.State), s.Feed.Sequence, dash(s.Feed.Age), dash(s.Feed.MaxAge))
	kinds, total := make([]string, 0, len(s.Revocations)), int64(0)
	for kind, n := range s.Revocations {
		if total += n; n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", n, printable(kind)))
		}
	}
	slices.Sort(kinds)
	_, err := fmt.Fprintf(w, "revocations\t%d\t%s\n", total, joined(kinds))
	return err
}

func joined(words []string) (all string) {
	for i, word := range words {
		if i > 0 {
			all += ", "
		}
		all += word
	}
	return all
}

func newFeedCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: "feed", Short: "look at the revocation feed: status", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{exitUsage, errors.New("say what to do: status\nsee: holdfast feed --help")}
		},
	}
	c.addTo(cmd)
	cmd.AddCommand(&cobra.Command{
		Use:   "status",
		Short: "show how far the feed is, and whether it can be trusted",
		Long: `Shows the revocation feed as one replica sees it, and the replicas that it has
heard in the last ten seconds: which record each had applied then, and how many
records that is behind this one. Exit codes: 0 fresh, 1 stale or not read yet.`,
		Example: "  holdfast feed status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			got, err := c.do(cmd.Context(), &call{method: http.MethodGet, path: "/v1/feed"})
			if err != nil {
				return err
			}
			var f feedState
			if err := got.into(&f); err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), got, f.table); err != nil {
				return err
			}
			return degraded(f.State == "fresh")
		},
	})
	return cmd
}

func (f *feedState) table(w io.Writer) error {
	_, _ = fmt.Fprintf(w, "state\t%s\n", dash(f.State))
	if f.Broken != "" {
		_, _ = fmt.Fprintf(w, "broken\t%s\n", printable(f.Broken))
	}
	_, _ = fmt.Fprintf(w, "age\t%s of %s\n", dash(f.Age), dash(f.MaxAge))
	_, _ = fmt.Fprintf(w, "record\t%d applied, %d in the log\n", f.Sequence, f.Last)
	_, _ = fmt.Fprintf(w, "epoch\t%s\n", dash(f.Epoch))
	_, _ = fmt.Fprintf(w, "connected\t%t\n", f.Connected)
	_, _ = fmt.Fprintf(w, "bytes\t%d\n", f.Bytes)
	_, err := fmt.Fprintf(w, "breaks\t%d\n", f.Breaks)
	for i := range f.Replicas {
		r := &f.Replicas[i]
		state := fmt.Sprintf("heard %s ago", dash(r.Heard))
		if r.Self {
			state = "this one"
		}
		if !r.Ready {
			state += ", not ready"
		}
		_, err = fmt.Fprintf(w, "replica\t%s\t%s\trecord %d, lag %d\t%s\n", dash(r.Name), dash(r.Version), r.Sequence, r.Lag, state)
	}
	return err
}
