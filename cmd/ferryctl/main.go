//go:build !manual

// Command ferryctl is what an operator says to a running ircferry: it finds the daemon's admin socket, asks, and prints the answer.
//
// One file holds one command. All of them get what they need from *ctl: the client, the streams and how to print; none of them
// keeps state. What goes to stdout is the answer, in a table or as the JSON document that admin/API.md describes; progress,
// hints and errors go to stderr. The exit code is decided in exit.go alone.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	os.Exit(run(context.Background(), os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, interrupts: interrupts}))
}
