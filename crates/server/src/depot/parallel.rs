//! Many small questions to the store at once, the answers in the order of the questions.

use tokio::task::JoinSet;

use super::Error;

/// How many questions are on their way together: a bucket answers one in tens of milliseconds.
const AT_ONCE: usize = 32;

/// Asks `ask` about each of `items`; the first error ends it.
pub(super) async fn each<I, T, F>(items: Vec<I>, ask: impl Fn(I) -> F) -> Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut answers: Vec<Option<T>> = items.iter().map(|_| None).collect();
    let mut items = items.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((n, item)) = items.next()
        {
            let question = ask(item);
            running.spawn(async move { question.await.map(|answer| (n, answer)) });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(result)) => {
                let (n, answer) = result?;
                answers[n] = Some(answer);
            }
            Some(Err(stopped)) if stopped.is_panic() => std::panic::resume_unwind(stopped.into_panic()),
            Some(Err(_)) => return Err(Error::Stopping),
        }
    }
    Ok(answers.into_iter().map(|answer| answer.expect("every question was answered")).collect())
}
