package role

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/cairn-network/cairn/core/types"
	"github.com/cairn-network/cairn/service/role/command"
)

// creditPatience is how long a command waits for credits to count that were bought a moment ago.
const creditPatience = 2 * time.Minute

// AwaitCredit has a command that pays wait, with a word, while its account has credits that no tally shows yet:
// if that takes longer than a moment, it is refused with CreditPending. Of an account that has none it says
// nothing: what costs something says so itself.
func AwaitCredit(shell command.Shell, c *cobra.Command) error {
	said := false
	for end := time.Now().Add(creditPatience); ; {
		var credit struct {
			Spendable types.Credit `json:"spendable,string"`
			Awaited   types.Credit `json:"awaited,string"`
			Seconds   uint64       `json:"awaited_seconds"`
		}
		if err := shell.Call(c, "GET", "/v1/credit", nil, &credit); err != nil {
			return err
		}
		wait := time.Duration(credit.Seconds) * time.Second
		switch {
		case credit.Spendable > 0 || credit.Awaited == 0:
			return nil
		case time.Now().Add(wait).After(end):
			err := types.Refuse(CreditPending, "the account's credits (%s) count from the next epoch on", command.Dollars(credit.Awaited))
			return shell.Advise(err, fmt.Sprintf("the same again in about %v", wait))
		case !said:
			said = true
			fmt.Fprintf(c.ErrOrStderr(), "waiting for the account's credits (%s): they count from the next epoch on, in about %v\n",
				command.Dollars(credit.Awaited), wait)
		}
		select {
		case <-c.Context().Done():
			return c.Context().Err()
		case <-time.After(time.Second):
		}
	}
}
