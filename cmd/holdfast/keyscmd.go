package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

func newKeysCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use: "keys", Short: "look at the issuers' keys: list, refresh", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return &exitError{exitUsage, errors.New("say what to do: list or refresh\nsee: holdfast keys --help")}
		},
	}
	c.addTo(cmd)
	list := &cobra.Command{
		Use:     "list",
		Short:   "show the keys of each issuer, and when they were last confirmed",
		Long:    "Shows the keys that signatures are checked with. Exit codes: 0 every issuer has keys, 1 one has none.",
		Example: "  holdfast keys list",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			got, err := c.do(cmd.Context(), &call{method: http.MethodGet, path: "/v1/keys"})
			if err != nil {
				return err
			}
			var k keysState
			if err := got.into(&k); err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), got, k.table); err != nil {
				return err
			}
			for i := range k.Items {
				if !k.Items[i].Usable {
					return degraded(false)
				}
			}
			return nil
		},
	}
	var issuer string
	refresh := &cobra.Command{
		Use:     "refresh",
		Short:   "fetch the keys now: of one issuer, or of all",
		Long:    "Fetches keys now. Keys that are there stay in force where it fails. Exit codes: 0 all fetched, 1 one was not.",
		Example: "  holdfast keys refresh --issuer https://idp.example",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			send := &call{method: http.MethodPost, path: "/v1/keys:refresh", body: map[string]string{}}
			if issuer != "" {
				send.body = map[string]string{"issuer": issuer}
			}
			got, err := c.do(cmd.Context(), send)
			if err != nil {
				return err
			}
			var k refreshState
			if err := got.into(&k); err != nil {
				return err
			}
			if err := c.print(cmd.OutOrStdout(), got, k.table); err != nil {
				return err
			}
			return degraded(got.status == http.StatusOK)
		},
	}
	refresh.Flags().StringVar(&issuer, "issuer", "", "only this issuer's")
	cmd.AddCommand(list, refresh)
	return cmd
}

// keysState is GET /v1/keys.
type keysState struct {
	Items []struct {
		Issuer string `json:"issuer"`
		From   string `json:"from"`
		Usable bool   `json:"usable"`
		Keys   []struct {
			ID  string `json:"kid"`
			Alg string `json:"alg"`
		} `json:"keys"`
		LastSuccess time.Time `json:"last_success"`
		LastError   string    `json:"last_error"`
		Failing     bool      `json:"failing"`
	} `json:"items"`
}

func (k *keysState) table(w io.Writer) error {
	_, _ = fmt.Fprintln(w, "ISSUER\tKID\tALG\tCONFIRMED\tFROM\tPROBLEM")
	for i := range k.Items {
		one := &k.Items[i]
		confirmed, problem := "-", "-"
		if !one.LastSuccess.IsZero() {
			confirmed = one.LastSuccess.UTC().Format(time.RFC3339)
		}
		if one.Failing || !one.Usable {
			problem = dash(one.LastError)
		}
		if len(one.Keys) == 0 {
			_, _ = fmt.Fprintf(w, "%s\t-\t-\t%s\t%s\t%s\n", dash(one.Issuer), confirmed, dash(one.From), problem)
		}
		for _, key := range one.Keys {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", dash(one.Issuer), dash(key.ID), dash(key.Alg), confirmed, dash(one.From), problem)
		}
	}
	return nil
}

// refreshState is the answer to POST /v1/keys:refresh.
type refreshState struct {
	Items []struct {
		Issuer string `json:"issuer"`
		OK     bool   `json:"ok"`
		Error  string `json:"error"`
	} `json:"items"`
}

func (k *refreshState) table(w io.Writer) error {
	for i := range k.Items {
		one := &k.Items[i]
		word := "refreshed"
		if !one.OK {
			word = printable(one.Error)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\n", dash(one.Issuer), word)
	}
	return nil
}
