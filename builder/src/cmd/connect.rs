//! `cloister connect URL`: a local OpenAI-compatible endpoint in front of a guest that verifies.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use cloister_verify::Conclusion;
use tokio::net::TcpListener;

use super::verify::{Expected, now, runtime};
use super::{CommandError, Context, DIFFERENT, MISSING};
use crate::client::upstream::Upstream;
use crate::client::{Appraised, Endpoint, Expectation, chat, proxy};

/// Serve a verified guest at `http://127.0.0.1:PORT/v1`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the guest: `https://HOST[:PORT]`
    url: Endpoint,
    #[command(flatten)]
    expected: Expected,
    /// Local address; it must be a loopback one, since the local side is not encrypted
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8000", value_parser = loopback)]
    listen: SocketAddr,
    /// Verify anew after this long: a number and `s`, `m` or `h`
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = interval)]
    reattest: Duration,
    /// Ask the model one question, print its answer as it streams, and end
    #[arg(long, value_name = "QUESTION")]
    ask: Option<String>,
}

/// Runs the verb until it is interrupted; 1 if the endpoint does not verify at the start, 3 if collateral is missing.
pub(crate) fn run(args: Args, ctx: &Context) -> Result<ExitCode, CommandError> {
    let expectation = args.expected.load()?;
    runtime()?.block_on(attend(&args, expectation, ctx))
}

async fn attend(
    args: &Args,
    expectation: Expectation,
    ctx: &Context,
) -> Result<ExitCode, CommandError> {
    let (appraised, session) = args.expected.open(&args.url, &expectation, ctx).await?;
    let Some(session) = session else {
        return Err(refused(&args.url, &appraised));
    };
    ctx.progress.say(&format!("{} is verified", args.url));
    if let Some(question) = &args.ask {
        let patience = args.expected.wait();
        chat::ask(&session, question, patience, &mut std::io::stdout()).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {}", args.listen))
        .map_err(CommandError::new)?;
    let address = listener.local_addr().map_err(CommandError::new)?;
    let url = args.url.clone();
    let upstream = Upstream::new(url, expectation, args.reattest, now, session);
    ctx.progress
        .say(&format!("listening on http://{address}/v1"));
    tokio::select! {
        never = proxy::serve(listener, upstream.clone()) => match never {},
        never = renew(&upstream, args, ctx) => match never {},
        ended = super::boot::interrupted() => ended?,
    }
    Ok(ExitCode::SUCCESS)
}

fn refused(url: &Endpoint, appraised: &Appraised) -> CommandError {
    let reason = appraised.reason();
    match appraised.conclusion {
        Conclusion::CollateralMissing => {
            CommandError::new(anyhow!("{url} cannot be judged: {reason}"))
                .with_hint("give `--collateral FILE`, a bundle of `cloister collateral fetch`")
                .with_code(MISSING)
        }
        _ => CommandError::new(anyhow!("{url} is rejected: {reason}"))
            .with_hint("`cloister verify` shows every check")
            .with_code(DIFFERENT),
    }
}

/// Attests by timer, and says so when the endpoint stops or starts to verify again.
async fn renew(upstream: &Arc<Upstream>, args: &Args, ctx: &Context) -> std::convert::Infallible {
    let mut verified = true;
    loop {
        tokio::time::sleep(args.reattest).await;
        match upstream.renew().await {
            Ok(()) if verified => {}
            Ok(()) => ctx.progress.say(&format!("{} is verified again", args.url)),
            Err(refusal) => ctx.progress.say(&refusal.to_string()),
        }
        verified = upstream.is_pinned().await;
    }
}

fn loopback(text: &str) -> anyhow::Result<SocketAddr> {
    let address: SocketAddr = text.parse()?;
    if !address.ip().is_loopback() {
        bail!("{} is not a loopback address", address.ip());
    }
    Ok(address)
}

/// A time such as `90s`, `10m` or `1h`.
fn interval(text: &str) -> anyhow::Result<Duration> {
    let wanted = "wanted a number above 0 and `s`, `m` or `h`";
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .context(wanted)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => bail!(wanted),
    };
    match number.parse::<u32>() {
        Ok(number) if number > 0 => Ok(Duration::from_secs(u64::from(number) * seconds)),
        _ => bail!(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_reads_seconds_minutes_and_hours() {
        let seconds = |text| interval(text).map(|time| time.as_secs()).ok();
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("10m"), Some(600));
        assert_eq!(seconds("1h"), Some(3600));
        for text in ["", "m", "0s", "10", "-1s", "1d", "1µ"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_refuses_other_addresses() {
        assert!(loopback("127.0.0.1:0").is_ok());
        assert!(loopback("[::1]:8000").is_ok());
        assert!(loopback("0.0.0.0:8000").is_err());
    }
}
