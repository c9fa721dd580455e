//! One frame under several prompts, read as one.

use grounding::{
    Capture, Criterion, Error, HeadMaps, HeadSelection, QuerySelector, Result, TokenRole,
};
use std::sync::Arc;

/// The same frame under other prompts, as far as it was looked at so.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// Under another instruction.
    pub swapped: Option<Arc<Capture>>,
    /// Under a generic prompt.
    pub generic: Option<Arc<Capture>>,
}

impl PartialEq for Companions {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &Option<Arc<Capture>>, b: &Option<Arc<Capture>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        same(&self.swapped, &other.swapped) && same(&self.generic, &other.generic)
    }
}

/// The maps that a selection works on, with those under other prompts. The query is the same token everywhere.
///
/// # Errors
/// As [`Capture::head_maps_for`]; of a companion only where the selection cannot do without it.
pub fn read(
    capture: &Capture,
    companions: &Companions,
    selection: &HeadSelection,
    view: usize,
) -> Result<HeadMaps> {
    let generic = match &companions.generic {
        Some(generic) if selection.aggregate.needs_generic() => {
            Some(read_alike(capture, generic, selection, view)?)
        }
        _ => None,
    };
    let complete = |maps: HeadMaps| match &generic {
        Some(generic) => maps.with_generic(generic),
        None => Ok(maps),
    };
    let maps = complete(capture.head_maps_for(selection, view)?)?;
    let Some(swapped) = &companions.swapped else {
        return Ok(maps);
    };
    match read_alike(capture, swapped, selection, view).and_then(complete) {
        Ok(swapped) => maps.with_swapped(swapped),
        Err(error) if selection.criterion == Criterion::InstructionChange => Err(error),
        Err(_) => Ok(maps),
    }
}

/// Maps of a companion: of the view of the same name, and of the query that is in it what the selection's is in
/// `capture`. Instructions differ in length, so the index of a row says nothing.
fn read_alike(
    capture: &Capture,
    companion: &Capture,
    selection: &HeadSelection,
    view: usize,
) -> Result<HeadMaps> {
    let query = match &selection.query {
        QuerySelector::Index(index) => {
            let wanted = capture.queries.get(*index);
            let found = wanted.and_then(|wanted| {
                companion.queries.iter().rposition(|query| {
                    query.role == wanted.role
                        && (query.role != TokenRole::Text || query.token == wanted.token)
                })
            });
            let found = found.ok_or_else(|| {
                let token = wanted.map_or("", |query| query.token.as_str());
                Error::NoQuery(format!("token `{token}` under another prompt"))
            })?;
            QuerySelector::Index(found)
        }
        selector => selector.clone(),
    };
    let name = capture
        .views
        .get(view)
        .map_or("", |view| view.name.as_str());
    let view = companion
        .views
        .iter()
        .position(|view| view.name == name)
        .ok_or_else(|| Error::NoView(name.to_owned()))?;
    let selection = HeadSelection {
        query,
        ..selection.clone()
    };
    companion.head_maps_for(&selection, view)
}

#[cfg(test)]
mod tests {
    use super::super::Prompt;
    use super::super::fake::{fake_capture, fake_capture_under};
    use super::*;
    use grounding::Aggregate;

    fn companions() -> Companions {
        let under = |prompt| Some(Arc::new(fake_capture_under(1, 2, prompt)));
        Companions {
            swapped: under(Prompt::Swapped),
            generic: under(Prompt::Generic),
        }
    }

    #[test]
    fn a_frame_is_read_with_what_the_selection_needs() {
        let capture = fake_capture(1, 2);
        let mut selection = HeadSelection::default();
        let maps = read(&capture, &companions(), &selection, 0).unwrap();
        assert!(maps.generic.is_none());
        let change = grounding::instruction_change(&maps, maps.swapped.as_ref().unwrap());
        let moved = |flat: usize| change[flat] > 0.5;
        assert_eq!(
            (0..24).filter(|flat| moved(*flat)).collect::<Vec<_>>(),
            [13, 17]
        );
        selection.aggregate = Aggregate::Relative { layer: Some(3) };
        let maps = read(&capture, &companions(), &selection, 0).unwrap();
        assert!(maps.generic.is_some() && maps.swapped.unwrap().generic.is_some());
        let alone = read(&capture, &Companions::default(), &selection, 0).unwrap();
        assert!(alone.generic.is_none() && alone.swapped.is_none());
    }

    #[test]
    fn the_query_is_the_same_token_under_every_prompt() {
        let capture = fake_capture(1, 2);
        let mut companions = companions();
        // A longer instruction: one more row before the read-out.
        let mut swapped = fake_capture_under(1, 2, Prompt::Swapped);
        swapped.queries[0].token = "elsewhere".into();
        companions.swapped = Some(Arc::new(swapped));
        let mut selection = HeadSelection {
            query: QuerySelector::Index(1),
            ..HeadSelection::default()
        };
        assert!(
            read(&capture, &companions, &selection, 0)
                .unwrap()
                .swapped
                .is_some()
        );
        // A word that the other instruction lacks.
        selection.query = QuerySelector::Index(0);
        assert!(
            read(&capture, &companions, &selection, 0)
                .unwrap()
                .swapped
                .is_none()
        );
        selection.criterion = Criterion::InstructionChange;
        let why = read(&capture, &companions, &selection, 0)
            .unwrap_err()
            .to_string();
        assert!(why.contains("`look`"), "{why}");
    }
}
