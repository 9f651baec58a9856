package main

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// run runs a command for which nobody is parked, with the caller's rights, and says why it failed; "" if it did not. Ctrl-C reaches it by itself.
func (c *ctl) run(ctx context.Context, command string) (why string) {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.in, c.out, c.err
	cmd.WaitDelay = time.Second // a daemon that it leaves behind may hold its output open
	if c.output == "json" {
		cmd.Stdout = c.err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Sprintf("the command could not be started: %v", err)
	}
	return failure(cmd.Wait())
}
